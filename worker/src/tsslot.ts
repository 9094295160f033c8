// Releases one after another under one and the same virtual name, so that TypeScript takes each for an
// edit of the one before: parsed library files and the program's structure are used again. A check then
// takes about 0.1 s instead of 3 s.
import * as fs from 'node:fs';
import * as path from 'node:path';
import type ts from 'typescript-5';

/** Where every release seems to be. Nothing is there on disk. */
const HOME = '/timewright-release';
/** Options that a parsed library file depends on. Parsed files are kept for so many sets of them: */
const VARIANTS = 2;
const PARSING = [
  'target', 'module', 'moduleDetection', 'moduleResolution', 'jsx', 'jsxImportSource', 'allowJs',
  'experimentalDecorators', 'esModuleInterop', 'isolatedModules', 'verbatimModuleSyntax', 'alwaysStrict', 'strict',
] as const;

/** Not the spec's, so no import of it can mean them (the daemon refuses one that does). */
const OURS = new Set(['/dist', '/bundle', '/node_modules']);

interface Variant {
  libraries: Map<string, ts.SourceFile | undefined>;
  own: Map<string, { text: string; options: string; file: ts.SourceFile }>;
  last: { options: string; names: string; program: ts.Program } | undefined;
}

export class Slot {
  private directory = '';
  private modules = '';
  private stamp = '';
  private readonly variants = new Map<string, Variant>();
  private readonly exists = new Map<string, boolean>();

  constructor(
    private readonly compiler: typeof ts,
    private readonly lib: string,
    /** The packages of the toolchain: an installed set links to them, so that there is one SDK. */
    private readonly shared: string,
  ) {}

  /** The program of the release in `directory`, with `extra` files (paths in it) besides the entry points. */
  open(directory: string, extra: readonly string[]): ts.Program {
    this.enter(directory);
    const parsed = this.parse();
    const variant = this.variant(parsed.options);
    const rootNames = [...parsed.fileNames, ...extra.map((name) => `${HOME}/${name}`)];
    const options = JSON.stringify(parsed.raw?.compilerOptions ?? {});
    const names = this.ownNames();
    const last = variant.last;
    const host = this.host(parsed.options, options, variant);
    // A file that came or went may change what an import means, also in files that stayed as they were.
    const moved = last === undefined || last.names !== names;
    host.hasInvalidatedResolutions = (file: string) => moved && file.startsWith(`${HOME}/`);
    const program = this.compiler.createProgram({
      rootNames,
      options: parsed.options,
      configFileParsingDiagnostics: this.compiler.getConfigFileParsingDiagnostics(parsed),
      host,
      ...(last?.options === options ? { oldProgram: last.program } : {}),
    });
    variant.last = { options, names, program };
    const used = new Set(program.getSourceFiles());
    for (const [key, { file }] of variant.own) {
      if (!used.has(file)) {
        variant.own.delete(key);
      }
    }
    return program;
  }

  /** After an error inside of TypeScript nothing that it holds is to be trusted. */
  forget(): void {
    this.variants.clear();
    this.exists.clear();
  }

  /** A path as it is on this machine. */
  real(name: string): string {
    return name === HOME || name.startsWith(`${HOME}/`) ? this.directory + name.slice(HOME.length) : name;
  }

  /** A message with the paths as they are on this machine. */
  show(text: string): string {
    return text.replaceAll(HOME, this.directory);
  }

  // --- the release ---

  private enter(directory: string): void {
    this.directory = directory;
    const link = `${directory}/node_modules`;
    this.modules = fs.existsSync(link) ? fs.realpathSync(link) : link;
    const stamp = [this.modules, mtime(this.modules), mtime(`${this.modules}/.package-lock.json`)].join(' ');
    const inside = below(this.modules, directory);
    if (stamp !== this.stamp || inside) {
      this.forget();
      this.stamp = stamp;
    }
  }

  private parse(): ts.ParsedCommandLine {
    const name = `${HOME}/tsconfig.json`;
    const source = this.compiler.readJsonConfigFile(name, (file) => this.read(file));
    const host: ts.ParseConfigHost = {
      useCaseSensitiveFileNames: true,
      fileExists: (file) => this.fileExists(file),
      readFile: (file) => this.read(file),
      readDirectory: () => [],
    };
    const parsed = this.compiler.parseJsonSourceFileConfigFileContent(source, host, HOME, {}, name);
    parsed.raw ??= this.compiler.convertToObject(source, []);
    return parsed;
  }

  private variant(options: ts.CompilerOptions): Variant {
    const key = JSON.stringify(PARSING.map((name) => options[name] ?? null));
    const found = this.variants.get(key) ?? { libraries: new Map(), own: new Map(), last: undefined };
    this.variants.delete(key);
    this.variants.set(key, found);
    for (const old of [...this.variants.keys()].slice(0, -VARIANTS)) {
      this.variants.delete(old);
    }
    return found;
  }

  /** All that resolving an import inside of the release can depend on, as text. */
  private ownNames(): string {
    const names: string[] = [];
    const walk = (folder: string): void => {
      for (const item of fs.readdirSync(folder, { withFileTypes: true })) {
        const name = `${folder}/${item.name}`;
        if (OURS.has(name.slice(this.directory.length))) {
          continue;
        } else if (item.isDirectory()) {
          walk(name);
        } else {
          names.push(name.slice(this.directory.length));
        }
      }
    };
    walk(this.directory);
    return [this.stamp, this.read(`${HOME}/package.json`) ?? '', ...names.sort()].join('\n');
  }

  // --- what TypeScript asks ---

  private host(options: ts.CompilerOptions, said: string, variant: Variant): ts.CompilerHost & {
    hasInvalidatedResolutions?: (file: string) => boolean;
  } {
    const kinds = (this.compiler as { JSDocParsingMode?: { ParseForTypeErrors: number } }).JSDocParsingMode;
    return {
      getSourceFile: (name, version) => this.sourceFile(name, version, said, variant),
      getDefaultLibFileName: () => `${this.lib}/${this.compiler.getDefaultLibFileName(options)}`,
      getDefaultLibLocation: () => this.lib,
      getCurrentDirectory: () => HOME,
      getCanonicalFileName: (name) => name,
      useCaseSensitiveFileNames: () => true,
      getNewLine: () => '\n',
      fileExists: (name) => this.fileExists(name),
      readFile: (name) => this.read(name),
      directoryExists: (name) => this.directoryExists(name),
      getDirectories: (name) => this.directories(name),
      realpath: (name) => this.realpath(name),
      writeFile: () => undefined,
      // What `tsc` itself asks for; the parser then skips comments that no error can come from.
      ...(kinds === undefined ? {} : { jsDocParsingMode: kinds.ParseForTypeErrors as ts.JSDocParsingMode }),
    };
  }

  private sourceFile(
    name: string,
    version: ts.ScriptTarget | ts.CreateSourceFileOptions,
    options: string,
    variant: Variant,
  ): ts.SourceFile | undefined {
    const kind = typeof version === 'object' ? version.impliedNodeFormat : undefined;
    const key = `${name}|${String(kind)}`;
    if (!name.startsWith(`${HOME}/`)) {
      if (!variant.libraries.has(key)) {
        const text = this.read(name);
        const made = text === undefined ? undefined : this.compiler.createSourceFile(name, text, version);
        variant.libraries.set(key, made);
      }
      return variant.libraries.get(key);
    }
    const text = this.read(name);
    if (text === undefined) {
      variant.own.delete(key);
      return undefined;
    }
    const kept = variant.own.get(key);
    // What the binder has to say of a file depends on options too, and stays with the file.
    if (kept?.text === text && kept.options === options) {
      return kept.file;
    }
    const file = this.compiler.createSourceFile(name, text, version);
    variant.own.set(key, { text, options, file });
    return file;
  }

  /** Where a path may be read; undefined for all that is none of the release's business. */
  private allowed(name: string): string | undefined {
    const normal = path.posix.normalize(name);
    if (below(normal, HOME)) {
      return this.real(normal);
    }
    return [this.modules, this.shared, this.lib].some((folder) => below(normal, folder)) ? normal : undefined;
  }

  private read(name: string): string | undefined {
    const real = this.allowed(name);
    if (real === undefined) {
      return undefined;
    }
    const sys = this.compiler.sys;
    return sys.readFile(real);
  }

  private fileExists(name: string): boolean {
    return this.stat(name, 'file', (real) => this.compiler.sys.fileExists(real));
  }

  private directoryExists(name: string): boolean {
    // Packages are looked for in every folder above; there is nothing above.
    return name === '/' || this.stat(name, 'folder', (real) => this.compiler.sys.directoryExists(real));
  }

  private stat(name: string, kind: string, ask: (real: string) => boolean): boolean {
    const real = this.allowed(name);
    if (real === undefined) {
      return false;
    }
    if (below(real, this.directory)) {
      return ask(real);
    }
    const key = `${kind} ${real}`;
    const found = this.exists.get(key) ?? ask(real);
    this.exists.set(key, found);
    return found;
  }

  private directories(name: string): string[] {
    const real = this.allowed(name);
    return real === undefined ? [] : this.compiler.sys.getDirectories(real);
  }

  private realpath(name: string): string {
    const real = this.allowed(name);
    if (real === undefined) {
      return name;
    }
    try {
      const found = fs.realpathSync(real);
      return below(found, this.directory) ? HOME + found.slice(this.directory.length) : found;
    } catch {
      return name;
    }
  }
}

function below(name: string, folder: string): boolean {
  return name === folder || name.startsWith(`${folder}/`);
}

function mtime(name: string): number {
  try {
    return fs.statSync(name).mtimeMs;
  } catch {
    return 0;
  }
}
