'use strict';
/**
 * What the SDK's own bundler says to several workflow files.
 *
 *   node verdicts.js TOOLCHAIN FILE...     prints {FILE: "" | the first lines of the error}
 */
const path = require('node:path');
const { createRequire } = require('node:module');

const load = createRequire(path.join(path.resolve(process.argv[2]), 'package.json'));
const { bundleWorkflowCode } = load('@temporalio/worker');
const silent = Object.fromEntries(['log', 'trace', 'debug', 'info', 'warn', 'error'].map((level) => [level, () => {}]));

async function main() {
  const said = {};
  for (const file of process.argv.slice(3)) {
    try {
      await bundleWorkflowCode({ workflowsPath: file, logger: silent });
      said[file] = '';
    } catch (error) {
      said[file] = String(error.message).slice(0, 400);
    }
  }
  process.stdout.write(JSON.stringify(said), () => process.exit(0));
}

main();
