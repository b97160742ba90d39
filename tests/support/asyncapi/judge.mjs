// node judge.mjs PACKAGES: what the parser of AsyncAPI says of each document on stdin, one a line, as a line of JSON: a
// list of {severity, code, path, message}, severity 0 an error, 1 a warning. PACKAGES is where it is installed.

import {createInterface} from 'node:readline';
import {createRequire} from 'node:module';

const require = createRequire(`${process.argv[2]}/package.json`);
const {Parser} = require('@asyncapi/parser');

const parser = new Parser();
for await (const line of createInterface({input: process.stdin})) {
  const {diagnostics} = await parser.parse(line);
  const said = diagnostics.map(({severity, code, path, message}) => ({severity, code, path: path.join('.'), message}));
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
