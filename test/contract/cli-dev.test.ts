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

/** Each command is a process of its own. */
const LIMIT_MS = 300_000;

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

it('changes how a VM is treated, and what is set for the cluster, and takes it back; nothing else changes', async () => {
  const shown = async (line: string): Promise<unknown> => JSON.parse((await lockstep(`${line} -o json`)).stdout);
  expect(await lockstep('vm set c1 --priority 7 --recovery stay-off --max-restart 3 --limit n1 n3 --no-failback --pause-budget 100ms')).toMatchObject({ code: 0 });
  const spec = { priority: 7, recovery: 'VM_RECOVERY_STAY_OFF', maxRestart: 3, nodeLimit: ['n1', 'n3'], failback: false, pauseBudget: '0.100s' };
  expect(await shown('vm show c1')).toMatchObject({ spec, desired: 'VM_DESIRED_RUNNING' });
  expect(await lockstep('vm set c1 --limit default --max-restart default')).toMatchObject({ code: 0 });
  const { spec: after } = (await shown('vm show c1')) as { spec: Record<string, unknown> };
  expect(after).toMatchObject({ priority: 7, failback: false });
  expect([after['nodeLimit'] ?? [], after['maxRestart']]).toEqual([[], undefined]);
  expect(await lockstep('vm set c1 --limit nowhere')).toMatchObject({ code: 3 });
  expect(await lockstep('vm set c1')).toMatchObject({ code: 2 });
  expect(await lockstep('vm set c1 --recovery maybe')).toMatchObject({ code: 2 });

  expect(await lockstep('cluster options set --vcpu-ratio 4 --shutdown-policy migrate')).toMatchObject({ code: 0 });
  expect((await lockstep('cluster options show')).stdout).toMatch(/vCPU ratio +4\n[^]*Shutdown policy +MIGRATE/);
  expect(await lockstep('cluster options set --vcpu-ratio default --migrations 3')).toMatchObject({ code: 0 });
  expect(await shown('cluster options show')).toMatchObject({ migrationsPerCluster: 3, shutdownPolicy: 'SHUTDOWN_POLICY_MIGRATE' });
  expect((await lockstep('cluster options show')).stdout).toMatch(/vCPU ratio +16 \(default\)/);
}, LIMIT_MS);

it('asks before anything is done: fencing is tested, refused with the reason, and a name is typed again', async () => {
  expect(await lockstep('fence test n3')).toMatchObject({ code: 0 });
  expect((await lockstep('fence evidence n3')).stdout).toMatch(/Last test +PASSED \(without harm/);
  expect((await lockstep('fence test n3 --power-cycle')).stderr).toContain('NODE_NOT_EMPTY');
  const word = await lockstep('fence ack n3 --reason gone --confirm n2');
  expect(word.code).not.toBe(0);
  expect(word.stderr).toContain('INVALID_FIELD');
  expect((await lockstep('fence ack n3 --reason gone')).stderr).toContain('CONFIRM_MISSING');
  expect((await lockstep('fence ack n3 --reason gone --confirm n3')).stderr).toContain('NODE_ALIVE');
  expect((await lockstep('fence list -o name')).stdout).toBe('');
}, LIMIT_MS);

it('ends with Ctrl-C, and its context with it', async () => {
  dev.child.kill('SIGINT');
  expect((await dev.ended).code).toBe(0);
  expect(await lockstep('node list')).toMatchObject({ code: 2 });
});
