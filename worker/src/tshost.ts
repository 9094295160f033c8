// A warm TypeScript 5 or 6 for the daemon: checks a release and says what it would emit.
//
//   node dist/tshost.js --typescript DIR        DIR: the directory of the `typescript` package
//
// One request a line on stdin, one answer a line on stdout (messages: `Request`, `Answer`). Nothing is
// written here, and nothing of a spec is run: no plugins are loaded, and files are read only below the
// release, its packages and TypeScript itself.
import * as fs from 'node:fs';
import * as readline from 'node:readline';
import { parseArgs } from 'node:util';
import type ts from 'typescript-5';
import { Slot } from './tsslot';

/** `extra`: files to check besides those of the tsconfig.json, which then is not emitted. */
export interface Request {
  id: number;
  directory: string;
  extra: string[];
}

/** Positions count from 1; a file's path is absolute. `outputs` are empty when anything is wrong. */
export interface Answer {
  id: number;
  files: string[];
  diagnostics: { fileName: string; line: number; column: number; code: number; text: string }[];
  outputs: { fileName: string; text: string }[];
}

function main(): void {
  const { values } = parseArgs({ options: { typescript: { type: 'string' } } });
  if (values.typescript === undefined) {
    throw new Error('--typescript is missing');
  }
  // eslint-disable-next-line @typescript-eslint/no-require-imports
  const compiler = require(`${values.typescript}/lib/typescript.js`) as typeof ts;
  const slot = new Slot(compiler, fs.realpathSync(`${values.typescript}/lib`), fs.realpathSync(`${__dirname}/../node_modules`));
  process.stdout.write(`${JSON.stringify({ id: 0, version: compiler.version })}\n`);
  const lines = readline.createInterface({ input: process.stdin, crlfDelay: Infinity });
  lines.on('line', (line) => {
    const request = JSON.parse(line) as Request;
    process.stdout.write(`${JSON.stringify(answer(compiler, slot, request))}\n`);
  });
  lines.on('close', () => process.exit(0));
}

function answer(compiler: typeof ts, slot: Slot, request: Request): Answer | { id: number; error: string } {
  try {
    const program = slot.open(request.directory, request.extra);
    const emits = request.extra.length === 0;
    const found = diagnose(program);
    const outputs: Answer['outputs'] = [];
    if (emits) {
      // `tsc` emits whatever it has found; what goes wrong there (declarations) is reported as well.
      const emitted = program.emit(undefined, (fileName, text) => {
        outputs.push({ fileName: slot.real(fileName), text });
      });
      found.push(...emitted.diagnostics);
    }
    const errors = compiler
      .sortAndDeduplicateDiagnostics(found)
      .filter((item) => item.category === compiler.DiagnosticCategory.Error);
    return {
      id: request.id,
      files: program.getSourceFiles().map((file) => slot.real(file.fileName)),
      diagnostics: errors.map((item) => show(compiler, slot, item)),
      outputs: errors.length === 0 ? outputs : [],
    };
  } catch (error) {
    slot.forget();
    return { id: request.id, error: error instanceof Error ? (error.stack ?? error.message) : String(error) };
  }
}

/** In the order of `tsc`: a program that can't be parsed is not checked for meaning. */
function diagnose(program: ts.Program): ts.Diagnostic[] {
  const config = [...program.getConfigFileParsingDiagnostics()];
  const syntax = program.getSyntacticDiagnostics();
  if (syntax.length > 0) {
    return [...config, ...syntax];
  }
  const general = [...program.getOptionsDiagnostics(), ...program.getGlobalDiagnostics()];
  return [...config, ...general, ...(general.length > 0 ? [] : program.getSemanticDiagnostics())];
}

function show(compiler: typeof ts, slot: Slot, item: ts.Diagnostic): Answer['diagnostics'][number] {
  const text = slot.show(compiler.flattenDiagnosticMessageText(item.messageText, '\n'));
  if (item.file === undefined || item.start === undefined) {
    return { fileName: '', line: 0, column: 0, code: item.code, text };
  }
  const { line, character } = item.file.getLineAndCharacterOfPosition(item.start);
  const fileName = slot.real(item.file.fileName);
  return { fileName, line: line + 1, column: character + 1, code: item.code, text };
}

main();
