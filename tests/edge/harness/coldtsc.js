// What `tsc -p DIR --pretty false` of some version prints, for many directories in one process:
//   node coldtsc.js PACKAGE DIR...      → JSON {DIR: text}
// The very function that lib/tsc.js calls; nothing is kept between two runs but the warm code.
const ts = require(`${process.argv[2]}/lib/typescript.js`);
const said = {};
for (const directory of process.argv.slice(3)) {
  let text = '';
  const sys = {
    ...ts.sys,
    write: (part) => { text += part; },
    getCurrentDirectory: () => directory,
    exit: () => { throw new Error('exit'); },
  };
  try {
    ts.executeCommandLine(sys, () => undefined, ['-p', directory, '--pretty', 'false']);
  } catch (error) {
    if (error.message !== 'exit') throw error;
  }
  said[directory] = text;
}
process.stdout.write(JSON.stringify(said));
