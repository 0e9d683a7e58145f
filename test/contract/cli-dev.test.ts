// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startProgram, type Ended, type Running } from './cli-process.js';

const XML = `<domain type='kvm'>
  <name>c1</name><uuid>11111111-2222-4333-8444-555555555555</uuid>
  <memory unit='MiB'>256</memory><vcpu>1</vcpu><os><type arch='x86_64'>hvm</type></os>
</domain>`;

let home: string;
let dev: Running;

async function lockstep(line: string, stdin = ''): Promise<Ended> {
  return await startProgram(line.split(' '), { HOME: home }, stdin).ended;
}

beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'lockstep-dev-'));
  dev = startProgram(['dev'], { HOME: home });
  await dev.says('Ctrl-C ends it');
});

afterAll(async () => {
  // Passed on to the program that dev runs; a SIGKILL would leave that one behind.
  dev.child.kill('SIGTERM');
  await dev.ended;
  rmSync(home, { recursive: true });
});

it('finds the cluster of lockstep dev, and moves a VM on it', async () => {
  expect((await lockstep('node list -o name')).stdout).toBe('n1\nn2\nn3\n');
  expect(await lockstep('vm define - --node n1', XML)).toMatchObject({ code: 0 });
  expect(await lockstep('vm start c1 --wait')).toMatchObject({ code: 0 });
  const moved = await lockstep('vm migrate c1 n2 --wait -o json');
  expect(moved.code).toBe(0);
  expect(JSON.parse(moved.stdout)).toMatchObject({ state: 'MIGRATION_STATE_SUCCEEDED', targetNode: 'n2' });
  expect((await lockstep('vm migrate c1 n2')).stderr).toContain('SAME_NODE');
  expect((await lockstep('vm list --node n2 -o name')).stdout).toBe('c1\n');
});

it('takes its home along with vm move, and goes back to it with vm unmigrate', async () => {
  const ended = async (line: string): Promise<unknown> => JSON.parse((await lockstep(`${line} --wait -o json`)).stdout);
  const there = { state: 'MIGRATION_STATE_SUCCEEDED', targetNode: 'n3', setHome: true };
  expect(await ended('vm move c1 n3')).toMatchObject(there);
  const away = { state: 'MIGRATION_STATE_SUCCEEDED', targetNode: 'n1', modeUsed: 'MIGRATION_MODE_SHUTDOWN' };
  expect(await ended('vm migrate c1 n1 --shutdown')).toMatchObject(away);
  expect(await ended('vm unmigrate c1')).toMatchObject({ state: 'MIGRATION_STATE_SUCCEEDED', targetNode: 'n3' });
  expect((await lockstep('vm unmigrate c1')).stderr).toContain('SAME_NODE');
});

it('ends with Ctrl-C, and its context with it', async () => {
  dev.child.kill('SIGINT');
  expect((await dev.ended).code).toBe(0);
  expect(await lockstep('node list')).toMatchObject({ code: 2 });
});
