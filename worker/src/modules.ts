/** Loads one file of a release as Node itself would: a CommonJS module, or an ES module. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, extname, join } from 'node:path';
import { pathToFileURL } from 'node:url';

/**
 * What the file exports. Not `import()` for both: of a CommonJS module it shows only the exports that
 * it can guess. Not `require()` for both: it can't wait for a top-level `await`.
 */
export async function loadModule(file: string): Promise<unknown> {
  return isEsModule(file) ? ((await import(pathToFileURL(file).href)) as unknown) : (require(file) as unknown);
}

/** By its suffix, or by the `type` of the nearest package.json above it, as Node decides. */
export function isEsModule(file: string): boolean {
  const suffix = extname(file);
  if (suffix === '.mjs') return true;
  if (suffix === '.cjs') return false;
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    const manifest = join(folder, 'package.json');
    if (existsSync(manifest)) return (JSON.parse(readFileSync(manifest, 'utf8')) as { type?: unknown } | null)?.type === 'module';
    if (folder === dirname(folder)) return false;
  }
}
