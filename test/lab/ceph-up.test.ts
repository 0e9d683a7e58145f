// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { attempt, ceph, cephConfigFile, cephDaemons, cephState, layout, until, virsh, type Outcome } from '../../deploy/lab/api.js';
import { hostNamespaces, leftovers } from './leftovers.js';

// An instance of its own, without services.
const home = mkdtempSync(join(tmpdir(), 'lockstep-ceph-lab-'));
const env = { ...process.env, LOCKSTEP_LAB: process.env['LOCKSTEP_TEST_LAB'] ?? 'lt6', XDG_CONFIG_HOME: home };
const lab = layout(env);
const main = join(lab.checkout, 'deploy/dist/lab/main.js');
const UP = ['up', '--without', 'services', '--ceph'];

const verb = (...args: string[]): Promise<Outcome> => attempt(process.execPath, [main, ...args], { env, timeoutMs: 300_000 });

async function ok(...args: string[]): Promise<void> {
  const { code, stderr } = await verb(...args);
  expect(code, stderr).toBe(0);
}

const processes = (): string[] => cephDaemons.map((daemon) => readFileSync(join(lab.stateDir, 'ceph/pids', daemon), 'utf8'));

async function isWhole(): Promise<void> {
  expect(cephDaemons.map((daemon) => cephState(lab, daemon))).toEqual(['running', 'running', 'running']);
  expect(await ceph(lab, ['ceph', 'health'])).toMatch(/^HEALTH_OK/);
  expect((await ceph(lab, ['ceph', 'osd', 'pool', 'ls'])).split('\n')).toContain('vms');
  for (const host of lab.hosts) expect(await virsh(host, ['secret-list'])).toContain('client.guest');
}

beforeAll(() => ok('down', '--force'));
afterAll(async () => {
  await ok('down', '--force');
  rmSync(home, { recursive: true, force: true });
});

it('a storage cluster that was killed half-way up is whole after the next up, and stays as it is by another', async () => {
  const half = spawn(process.execPath, [main, ...UP], { env, stdio: 'ignore' });
  await until('its monitor is being made', 120_000, () => Promise.resolve(existsSync(cephConfigFile(lab)) ? undefined : 'not yet'));
  half.kill('SIGKILL');
  await once(half, 'exit');
  expect(existsSync(join(lab.stateDir, 'ceph/made'))).toBe(false);

  await ok(...UP);
  await isWhole();
  const before = processes();
  await ok(...UP);
  expect(processes()).toEqual(before);
  // It stays with the lab, whether it is named again or not.
  await ok('up', '--without', 'services');
  expect(processes()).toEqual(before);
});

it('what was stopped goes on, and what was killed is started, by the next up', async () => {
  await ok('ceph-daemon', 'mon', 'stop');
  await ok('ceph-daemon', 'mgr', 'kill');
  await until('the manager is dead', 20_000, () => Promise.resolve(cephState(lab, 'mgr') === 'dead' ? undefined : 'not yet'));
  await ok(...UP);
  await isWhole();
  // Its data went with it: there is a new cluster.
  await ok('ceph-daemon', 'osd', 'kill');
  await until('the OSD is dead', 20_000, () => Promise.resolve(cephState(lab, 'osd') === 'dead' ? undefined : 'not yet'));
  await ok(...UP);
  await isWhole();
});

it('down leaves nothing, not of a frozen cluster either', async () => {
  const namespaces = await hostNamespaces(lab);
  for (const daemon of cephDaemons) await ok('ceph-daemon', daemon, 'stop');
  await ok('down');
  expect(await leftovers(lab, namespaces, join(home, 'lockstep/context.yaml'))).toEqual([]);
});
