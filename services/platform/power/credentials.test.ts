// SPDX-License-Identifier: Apache-2.0
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { systemClock } from '../clock/system.js';
import { ConfigError } from '../config/load.js';
import { loadBmcs } from './credentials.js';

const SECRET = 'hunter2hunter2';
const entry = { kind: 'ipmi', address: '10.0.0.1', username: 'lockstep', password: SECRET };
let folder = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-bmc-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

function write(content: unknown, mode = 0o600): string {
  const file = join(folder, 'bmc.yaml');
  writeFileSync(file, JSON.stringify(content, undefined, 1), { mode });
  chmodSync(file, mode);
  return file;
}

async function refusal(file: string): Promise<string> {
  const error: unknown = await loadBmcs(file, systemClock).catch((thrown: unknown) => thrown);
  if (!(error instanceof ConfigError)) throw new Error('it was not refused');
  expect(error.message).not.toContain(SECRET);
  return error.message;
}

describe('the file of BMCs', () => {
  it('names the BMC of each node', async () => {
    const bmcs = await loadBmcs(write({ nodes: { h1: entry, h2: { ...entry, port: 624, cipher_suite: 3 } } }), systemClock);
    expect(bmcs.of('h1')?.address).toBe('10.0.0.1:623');
    expect(bmcs.of('h2')?.address).toBe('10.0.0.1:624');
    expect(bmcs.of('h3')).toBeUndefined();
    expect((await loadBmcs(undefined, systemClock)).of('h1')).toBeUndefined();
  });

  it('names further devices, in their order, and hands options to fence agents as text', async () => {
    const pdu = { kind: 'fence-agent', agent: 'fence_apc', options: { ip: '10.0.0.9', plug: 3, ssh: true } };
    const bmcs = await loadBmcs(write({ nodes: { h1: entry }, further: { h1: [pdu], h2: [pdu] } }), systemClock);
    expect(bmcs.devices('h1').map(({ kind, address }) => `${kind} ${address}`)).toEqual(['ipmi 10.0.0.1:623', 'fence_apc 10.0.0.9']);
    expect(bmcs.devices('h2').map(({ kind }) => kind)).toEqual(['fence_apc']);
    expect(bmcs.of('h2')).toBeUndefined();
  });

  it.each([0o640, 0o604, 0o620])('is refused where others than its owner can reach it (%o)', async (mode) => {
    expect(await refusal(write({ nodes: { h1: entry } }, mode))).toMatch(/others than its owner can read it; chmod 600/);
  });

  it.each<[string, unknown, RegExp]>([
    ['an unknown key', { nodes: { h1: { ...entry, adress: 'x' } } }, /nodes\.h1\.adress: unknown; did you mean address\?/],
    ['a missing password', { nodes: { h1: { ...entry, password: undefined } } }, /nodes\.h1\.password: got nothing, want string/],
    ['a password that IPMI cannot hold', { nodes: { h1: { ...entry, password: SECRET.repeat(2) } } }, /password: got a string, want at most 20/],
    ['another kind', { nodes: { h1: { ...entry, kind: 'pdu' } } }, /kind: got "pdu", want ipmi/],
    ['one BMC for two nodes', { nodes: { h1: entry, h2: entry } }, /nodes\.h2\.address: .*another one than h1's/],
  ])('is refused with %s', async (_, content, message) => {
    expect(await refusal(write(content))).toMatch(message);
  });
});
