// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { FenceActionState, Fenceability, VmState } from '@lockstep/sdk';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import {
  awaitPart,
  consulLeader,
  crashHost,
  hostNamed,
  killPart,
  logFileOf,
  partNamed,
  plug,
  processesOf,
  setBmcMode,
  signalPart,
  startPart,
  until,
  up,
  type HostLayout,
} from '#lab';
import { stateName } from '../fence-matrix/cell.js';
import {
  actionSince,
  chooseVictim,
  comeBack,
  guestProcesses,
  healthy,
  isOpen,
  leadersOf,
  mend,
  noneSince,
  printedElsewhere,
  removeGuest,
  restart,
  startGuest,
  type Guest,
} from '../fence-matrix/stage.js';
import { Cluster } from '../kill-matrix/cluster.js';
import { lab, lockstep, meshEnv, meshUp } from '../mesh.js';

/** More than six throws and the session's time on a busy machine. */
const SILENCE_MS = 60_000;
const ACTION_LIMIT_MS = 180_000;

const cluster = new Cluster(lab);
let guest: Guest | undefined;

beforeAll(async () => {
  await meshUp();
  await healthy(cluster);
});

afterEach(async () => {
  for (const host of lab.hosts) for (const network of ['a', 'b'] as const) await plug(host, network, true);
  await up(lab, { env: meshEnv });
  await healthy(cluster);
  if (guest !== undefined) await removeGuest(cluster, guest);
  guest = undefined;
});

afterAll(() => {
  cluster.close();
});

/** How often the host's devices were told this since then; they note nothing before they are told anything. */
function told(host: HostLayout, word: string, sinceMs: number): number {
  const file = logFileOf(host, 'chassis');
  if (!existsSync(file)) return 0;
  const lines = readFileSync(file, 'utf8').split('\n');
  return lines.filter((line) => Number(line.split(' ')[0]) * 1_000 >= sinceMs && line.endsWith(word)).length;
}

/** Waits until the newest action on the host is in this state. */
async function actionIn(host: HostLayout, state: FenceActionState, sinceMs: number): Promise<void> {
  await until(`the action on ${host.name} is ${stateName(state)}`, ACTION_LIMIT_MS, async () => {
    const action = await actionSince(cluster, host, sinceMs);
    if (action?.state === state) return undefined;
    return action === undefined ? 'there is none' : `${stateName(action.state)}: ${action.detail}`;
  });
}

async function runsElsewhere(victim: HostLayout, { id, name }: Guest): Promise<void> {
  await until(`${name} runs elsewhere`, ACTION_LIMIT_MS, async () => {
    const vm = await cluster.vm(id);
    if (vm?.status?.state === VmState.RUNNING && vm.placement?.node !== victim.name) return undefined;
    return vm?.status?.detail ?? 'nobody tells';
  });
}

describe('nobody is fenced', () => {
  it('when an agent, libvirtd, Consul, its leader, the Scheduler and the Fencer are restarted', async () => {
    const sinceMs = Date.now();
    const { victim } = await chooseVictim(cluster);
    await restart(cluster, victim, 'node-agent');
    await restart(cluster, victim, 'libvirtd');
    await restart(cluster, victim, 'consul');
    const leader = await consulLeader(lab);
    if (leader !== undefined) await restart(cluster, leader, 'consul');
    const { scheduler, fencer } = await leadersOf(cluster);
    if (scheduler !== undefined) await killPart(hostNamed(lab, scheduler), 'scheduler');
    if (fencer !== undefined) await killPart(hostNamed(lab, fencer), 'fencer');
    await sleep(SILENCE_MS);
    await noneSince(cluster, sinceMs);
  });

  it('ancestor 22: when an agent takes 25 s to start', async () => {
    const sinceMs = Date.now();
    const { victim } = await chooseVictim(cluster);
    await killPart(victim, 'node-agent');
    await startPart(lab, victim, partNamed('node-agent'));
    await sleep(1_500);
    signalPart(victim, 'node-agent', 'SIGSTOP');
    await sleep(23_500);
    signalPart(victim, 'node-agent', 'SIGCONT');
    await awaitPart(lab, victim, partNamed('node-agent'));
    await healthy(cluster);
    await noneSince(cluster, sinceMs);
  });

  it('when Consul alone is silent', async () => {
    const sinceMs = Date.now();
    for (const host of lab.hosts) signalPart(host, 'consul', 'SIGSTOP');
    await sleep(SILENCE_MS);
    for (const host of lab.hosts) signalPart(host, 'consul', 'SIGCONT');
    await healthy(cluster);
    await noneSince(cluster, sinceMs);
  });

  it('when two of three hosts are lost at once', async () => {
    const sinceMs = Date.now();
    const { fencer } = await leadersOf(cluster);
    const lost = lab.hosts.filter(({ name }) => name !== fencer);
    guest = await startGuest(cluster, hostNamed(lab, lost[0]?.name ?? ''));
    const before = await Promise.all(lost.map(processesOf));
    for (const host of lost) for (const network of ['a', 'b'] as const) await plug(host, network, false);
    await sleep(SILENCE_MS);
    // Their own processes are there as they were: nobody switched them off.
    for (const [index, host] of lost.entries()) {
      expect((await processesOf(host)).filter((pid) => before[index]?.includes(pid)).length).toBeGreaterThan(0);
      expect(told(host, 'power 0', sinceMs)).toBe(0);
    }
    for (const host of lost) for (const network of ['a', 'b'] as const) await plug(host, network, true);
    await healthy(cluster);
    for (const host of lost) expect(told(host, 'power 0', sinceMs)).toBe(0);
  });
});

describe('a host that is cut off', () => {
  it('and lives is powered off before its VM starts elsewhere', async () => {
    const { victim } = await chooseVictim(cluster);
    guest = await startGuest(cluster, victim);
    const pids = await processesOf(victim);
    const sinceMs = Date.now();
    for (const network of ['a', 'b'] as const) await plug(victim, network, false);
    await until('the VM runs elsewhere', ACTION_LIMIT_MS, async () => {
      const name = guest?.name ?? '';
      // Asked in this order: one that is seen elsewhere was not there any more before.
      const old = await guestProcesses(pids, name);
      if (printedElsewhere(cluster, victim, name).length === 0) return `${String(old.length)} on ${victim.name}`;
      expect(await guestProcesses(pids, name)).toEqual([]);
      return undefined;
    });
    expect(told(victim, 'power 0', sinceMs)).toBe(1);
    await mend(cluster, victim, guest);
  });

  it('ancestor 18: with its BMC gone, too, nothing starts until a person says that it is dead', async () => {
    const { victim } = await chooseVictim(cluster);
    guest = await startGuest(cluster, victim);
    await setBmcMode(lab, victim, 'dead');
    const sinceMs = Date.now();
    for (const network of ['a', 'b'] as const) await plug(victim, network, false);
    await actionIn(victim, FenceActionState.UNCERTAIN, sinceMs);
    await sleep(20_000);
    expect(printedElsewhere(cluster, victim, guest.name)).toEqual([]);
    expect((await actionSince(cluster, victim, sinceMs))?.detail).not.toBe('');
    await crashHost(victim);
    const acknowledged = await lockstep('fence', 'ack', victim.name, '--reason', 'the rack is on fire', '--confirm', victim.name);
    expect(acknowledged, acknowledged.stderr).toMatchObject({ code: 0 });
    await actionIn(victim, FenceActionState.CONFIRMED, sinceMs);
    await runsElsewhere(victim, guest);
    await mend(cluster, victim, guest);
  });
});

describe('the leading Fencer is killed', () => {
  it.each([0, 1, 2, 3])('ancestor 20: after %i attempts, and the next one finishes the action', async (count) => {
    await healthy(cluster);
    const { fencer } = await leadersOf(cluster);
    const victim = lab.hosts.find(({ name }) => name !== fencer);
    if (victim === undefined || fencer === undefined) throw new Error('nobody leads');
    guest = await startGuest(cluster, victim);
    const sinceMs = Date.now();
    await crashHost(victim);
    await until(`an action with ${String(count)} attempts`, ACTION_LIMIT_MS, async () => {
      const action = await actionSince(cluster, victim, sinceMs);
      if (action === undefined) return 'there is none';
      return action.attempts.length >= count || !isOpen(action) ? undefined : `${String(action.attempts.length)} attempts`;
    });
    await killPart(hostNamed(lab, fencer), 'fencer');
    await actionIn(victim, FenceActionState.CONFIRMED, sinceMs);
    await runsElsewhere(victim, guest);
    expect(told(victim, 'power 0', sinceMs)).toBeLessThanOrEqual(2);
    expect(told(victim, 'power 1', sinceMs)).toBeLessThanOrEqual(1);
    await startPart(lab, hostNamed(lab, fencer), partNamed('fencer'));
    await comeBack(cluster, victim);
  });
});

describe('a drill', () => {
  it('with a wrong password fails before any host dies', async () => {
    const { victim } = await chooseVictim(cluster);
    await setBmcMode(lab, victim, 'wrong-password');
    const fencer = await cluster.api.fencer();
    const found = await fencer.testFencing({ node: victim.name }, { deadlineMs: 120_000 });
    expect(found.fenceability).toBe(Fenceability.NOT_FENCEABLE);
    expect(found.detail).not.toBe('');
  });

  it('with a power cycle finds a BMC that lies', async () => {
    const { victim } = await chooseVictim(cluster);
    await setBmcMode(lab, victim, 'lies-off');
    await cluster.api.scheduler.setMaintenance({ node: victim.name, enabled: true, reason: 'its ladder is tested' });
    await expect.poll(async () => (await cluster.api.scheduler.listVms({})).vms.filter(({ placement }) => placement?.node === victim.name), { timeout: 120_000 }).toEqual([]);
    const fencer = await cluster.api.fencer();
    const found = await fencer.testFencing({ node: victim.name, powerCycle: true }, { deadlineMs: 240_000 });
    expect(found.fenceability, found.detail).toBe(Fenceability.NOT_FENCEABLE);
    expect((await processesOf(victim)).length).toBeGreaterThan(0);
    await cluster.api.scheduler.setMaintenance({ node: victim.name, enabled: false });
  });
});
