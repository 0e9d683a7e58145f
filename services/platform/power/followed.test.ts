// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import { createVirtualClock } from '../clock/virtual.js';
import { createMemoryLogger } from '../log/memory.js';
import { followBmcs } from './followed.js';

let folder: string;
let file: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-bmcs-'));
  file = join(folder, 'bmc.yaml');
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function write(address: string, rest = 'kind: ipmi, username: u, password: secret7'): void {
  writeFileSync(file, `nodes: {h1: {address: ${address}, ${rest}}}\n`);
  chmodSync(file, 0o600);
}

it('BMCs whose file has changed are read again; one that has become wrong does not count, and no secret is told', async () => {
  const clock = createVirtualClock();
  const log = createMemoryLogger(() => clock.nowMs());
  const stop = new AbortController();
  write('192.0.2.1');
  const bmcs = await followBmcs(file, { clock, log, signal: stop.signal });
  expect(bmcs.of('h1')?.address).toContain('192.0.2.1');

  write('192.0.2.2');
  await vi.waitFor(async () => {
    await clock.advance(11_000);
    expect(bmcs.of('h1')?.address).toContain('192.0.2.2');
  });

  write('192.0.2.3', 'kind: ipmi, username: u, password: secret7, passwort: x');
  await vi.waitFor(async () => {
    await clock.advance(11_000);
    expect(log.lines.map(({ message }) => message).join()).toContain('is wrong');
  });
  expect(bmcs.of('h1')?.address).toContain('192.0.2.2');

  rmSync(file);
  await clock.advance(30_000);
  expect(bmcs.of('h1')?.address).toContain('192.0.2.2');
  expect(JSON.stringify(log.lines)).not.toContain('secret7');
  stop.abort();
});
