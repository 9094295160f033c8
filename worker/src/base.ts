/**
 * Makes the SDK's part of a workflow bundle, once for each SDK version and list of specifiers.
 *
 *   node dist/base.js --out DIR --specifiers '["@temporalio/workflow", ...]'
 *
 * The SDK's own bundler bundles a stub in place of workflows. The stub gives the parts that are
 * appended later (by the daemon, `edge/bundle.py`) a `require` for the listed specifiers. It is an
 * ordinary module for the SDK, so it and all the code behind it run anew for each execution.
 *
 * Writes DIR/base.js (code without its source map) and DIR/base.json (the map, trimmed, and what
 * the daemon needs to append to it). Prints nothing; on failure the reason goes to stderr, exit 1.
 *
 * This file is also the webpack loader that puts the stub's text in place of its own.
 */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { parseArgs } from 'node:util';

/** The slice of webpack's configuration that is changed here; webpack's types are not a dependency of ours. */
interface WebpackConfig {
  context?: string;
  output?: Record<string, unknown>;
  module?: { rules?: unknown[] };
}

interface SourceMap {
  sources: string[];
  names: string[];
  mappings: string;
}

/** Sums of all deltas in a source map's mappings: where the next segment counts from. */
export interface End {
  lines: number;
  source: number;
  line: number;
  column: number;
  name: number;
}

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** The stub that stands for all workflows. `specifiers` become `require` calls that webpack can see. */
function stub(specifiers: readonly string[]): string {
  const rows = specifiers.map((name) => `  [${JSON.stringify(name)}, () => require(${JSON.stringify(name)})],`);
  return [
    `const table = new Map([`,
    ...rows,
    `]);`,
    `function need(name) {`,
    `  const load = table.get(name);`,
    `  if (load === undefined) throw new Error("Cannot find module '" + name + "' in workflow code");`,
    `  return load();`,
    `}`,
    `module.exports = globalThis.__timewright__(need);`,
    ``,
  ].join('\n');
}

/** webpack loader: whatever the file says, the module is the stub. */
function loader(this: { getOptions(): { specifiers: string[] } }): string {
  return stub(this.getOptions().specifiers);
}

/** Where a source map's deltas stand after its last segment. */
export function endOf(mappings: string): End {
  const end: End = { lines: 0, source: 0, line: 0, column: 0, name: 0 };
  let value = 0;
  let shift = 0;
  let field = 0;
  for (const char of mappings) {
    if (char === ';' || char === ',') {
      field = 0;
      if (char === ';') end.lines += 1;
      continue;
    }
    const digit = DIGITS.indexOf(char);
    value |= (digit & 31) << shift;
    shift += 5;
    if (digit & 32) continue;
    const delta = value & 1 ? -(value >>> 1) : value >>> 1;
    if (field === 1) end.source += delta;
    else if (field === 2) end.line += delta;
    else if (field === 3) end.column += delta;
    else if (field === 4) end.name += delta;
    field += 1;
    value = 0;
    shift = 0;
  }
  return end;
}

/**
 * The bundle must be the same bytes on every host, for its digest is the Build ID: no path of this
 * machine in module ids (relative to `context`) nor in the map's sources.
 */
function portable(config: WebpackConfig, toolchain: string, specifiers: readonly string[]): WebpackConfig {
  const rule = { resource: __filename, use: [{ loader: __filename, options: { specifiers } }] };
  return {
    ...config,
    context: toolchain,
    output: { ...config.output, devtoolModuleFilenameTemplate: '[resource-path]' },
    module: { ...config.module, rules: [...(config.module?.rules ?? []), rule] },
  };
}

function split(code: string): [string, SourceMap] {
  const mark = '//# sourceMappingURL=data:application/json;charset=utf-8;base64,';
  const at = code.lastIndexOf(mark);
  if (at < 0) throw new Error('the SDK made a bundle without an inline source map');
  const map = JSON.parse(Buffer.from(code.slice(at + mark.length), 'base64').toString()) as SourceMap;
  return [code.slice(0, at), map];
}

/**
 * `./node_modules/x` → `node_modules/x`: a consumer normalises it so, and sources are looked up by name.
 * `ignored|/…` stands for what the SDK replaces by nothing, and tells where this machine keeps it.
 */
function plain(source: string, toolchain: string): string {
  return source.replaceAll(`${toolchain}/`, '').replace(/^(\.\/)+/, '');
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options: { out: { type: 'string' }, specifiers: { type: 'string' } } });
  if (values.out === undefined || values.specifiers === undefined) {
    throw new Error("usage: node base.js --out DIR --specifiers '[...]'");
  }
  const specifiers = JSON.parse(values.specifiers) as string[];
  const toolchain = resolve(__dirname, '..');
  // Loaded here and not at the top: webpack loads this file as a loader, too.
  const { bundleWorkflowCode } = await import('@temporalio/worker');
  const { disallowedModules } = await import('@temporalio/worker/lib/workflow/bundler.js');
  const silent = { log() {}, trace() {}, debug() {}, info() {}, warn() {}, error: console.error };
  const { code } = await bundleWorkflowCode({
    workflowsPath: __filename,
    logger: silent,
    webpackConfigHook: (config) => portable(config as WebpackConfig, toolchain, specifiers) as typeof config,
  });
  const [text, map] = split(code);
  const manifest = join(dirname(require.resolve('@temporalio/worker')), '..', 'package.json');
  const sdk = (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version;
  const base = {
    sdk,
    specifiers,
    disallowed: disallowedModules,
    sources: map.sources.map((source) => plain(source, toolchain)),
    names: map.names,
    mappings: map.mappings,
    end: endOf(map.mappings),
  };
  mkdirSync(values.out, { recursive: true });
  writeFileSync(join(values.out, 'base.js'), text);
  writeFileSync(join(values.out, 'base.json'), JSON.stringify(base));
}

if (require.main === module) {
  main().catch((error: unknown) => {
    console.error(error instanceof Error ? error.message : error);
    process.exitCode = 1;
  });
}

export default loader;
