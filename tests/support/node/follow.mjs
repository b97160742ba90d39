// node follow.mjs PACKAGES events|messages URL WHAT: follows a stream with the packages `eventsource` or `ws`, and prints
// a line of JSON for whatever is told. PACKAGES is the folder where they are installed.

import {createRequire} from 'node:module';
import {followEvents, followMessages} from './following.mjs';

const [packages, kind, url, what] = process.argv.slice(2);
const require = createRequire(`${packages}/package.json`);
const tell = (said) => process.stdout.write(`${JSON.stringify(said)}\n`);

if (kind === 'events') {
  followEvents(require('eventsource').EventSource, url, JSON.parse(what), tell);
} else {
  followMessages(require('ws').WebSocket, url, JSON.parse(what), tell);
}
