/** smol-toml for tests: its types are of an ES module only. */
export const { stringify } = require('smol-toml') as { stringify(value: object): string };
