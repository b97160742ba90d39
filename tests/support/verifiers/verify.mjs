// node verify.mjs PACKAGES: for each line of JSON {secret, headers, body (base64)} says whether the package
// `standardwebhooks` accepts the request. PACKAGES is the folder where it is installed.

import {createInterface} from 'node:readline';
import {createRequire} from 'node:module';

const require = createRequire(`${process.argv[2]}/package.json`);
const {Webhook} = require('standardwebhooks');

for await (const line of createInterface({input: process.stdin})) {
  const {secret, headers, body} = JSON.parse(line);
  let accepted = true;
  try {
    new Webhook(secret).verify(Buffer.from(body, 'base64'), headers);
  } catch {
    accepted = false;
  }
  process.stdout.write(`${JSON.stringify(accepted)}\n`);
}
