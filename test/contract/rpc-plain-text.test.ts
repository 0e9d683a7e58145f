// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, it } from 'vitest';

const child = fileURLToPath(new URL('rpc-plain-text.child.mjs', import.meta.url));

/** Calls a server at 10.9.8.7 from 10.9.8.7, in a network namespace with nothing else in it. Needs a build. */
async function callFromOutside(...allowCidrs: string[]): Promise<string> {
  const script = 'ip link set lo up && ip addr add 10.9.8.7/24 dev lo && exec "$@"';
  const command = [process.execPath, child, '10.9.8.7', ...allowCidrs];
  const { stdout } = await promisify(execFile)('unshare', ['-rn', 'sh', '-c', script, 'sh', ...command], { timeout: 30_000 });
  return stdout.trim();
}

it('plain text from outside loopback is refused with the address, unless its network is allowed', async () => {
  expect(await callFromOutside()).toBe('NOT_ALLOWED 10.9.8.7');
  expect(await callFromOutside('10.9.9.0/24')).toBe('NOT_ALLOWED 10.9.8.7');
  expect(await callFromOutside('10.9.8.0/24')).toBe('answered');
});
