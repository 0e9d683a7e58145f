// SPDX-License-Identifier: Apache-2.0
// Run by hand with the path of libvirt's src/remote/remote_protocol.x, e.g. when a new libvirt is out.
import { readFileSync } from 'node:fs';
import { eventMessages, procedures } from '../procedures.js';
import { compareWithProtocolFile } from './compare-protocol.js';

const path = process.argv[2] ?? process.env['LIBVIRT_PROTOCOL_X'];
if (path === undefined) {
  console.error('usage: node dist/testing/check-protocol-file.js PATH/remote_protocol.x');
  process.exit(2);
}
const found = compareWithProtocolFile(readFileSync(path, 'utf8'));
for (const difference of found) console.error(difference);
const checked = Object.keys(procedures).length + Object.keys(eventMessages).length;
console.log(`${String(checked)} procedures and events compared, ${String(found.length)} differences`);
process.exitCode = found.length === 0 ? 0 : 1;
