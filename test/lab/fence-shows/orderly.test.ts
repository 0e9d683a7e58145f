// SPDX-License-Identifier: Apache-2.0
// Hosts that go away and come back in an orderly way, and a host whose VMs do not all find room: nobody is fenced who
// should not be, and nothing is lost.
import { randomUUID } from 'node:crypto';
import { afterAll, afterEach, beforeAll, describe, expect, it } from 'vitest';
import { VmDesired, VmState } from '@lockstep/sdk';
import { crashHost, down, ensureImage, guestXml, rebootHost, until, up, type HostLayout } from '#lab';
import { chooseVictim, comeBack, healthy, noneSince, printed, removeGuest, startGuest, type Guest } from '../fence-matrix/stage.js';
import { removeGuests, startGuest as startCounter } from '../guest.js';
import { Cluster } from '../kill-matrix/cluster.js';
import { lab, meshEnv, meshUp, ok } from '../mesh.js';

const BACK_LIMIT_MS = 180_000;

const cluster = new Cluster(lab);
let guests: Guest[] = [];

beforeAll(async () => {
  // A lab of the other shows remembers which BMC lied, and believes it no more: nothing would prove that host off.
  await down(lab, { env: meshEnv });
  await meshUp();
  await healthy(cluster);
});

afterEach(async () => {
  await up(lab, { env: meshEnv });
  await healthy(cluster);
  await removeGuests();
  for (const guest of guests) await removeGuest(cluster, guest);
  guests = [];
});

afterAll(() => {
  cluster.close();
});

describe('a host that goes away in order', () => {
  it('and reboots within the limit is not fenced, and starts its VM again', async () => {
    const { victim } = await chooseVictim(cluster);
    const guest = await startGuest(cluster, victim, { shutdownLimit: { seconds: 2n, nanos: 0 } });
    guests = [guest];
    const sinceMs = Date.now();
    const before = printed(victim, guest.name);
    await rebootHost(lab, victim);
    await healthy(cluster);
    await runsOn(guest, victim.name);
    await until(`${guest.name} counts again`, BACK_LIMIT_MS, () =>
      Promise.resolve(printed(victim, guest.name) > before + 30 ? undefined : 'it does not'),
    );
    await noneSince(cluster, sinceMs);
  });

  it('and is drained of five VMs gets them back live: no count is lost and nobody is fenced', async () => {
    const { victim } = await chooseVictim(cluster);
    const sinceMs = Date.now();
    const counters = [];
    for (let number = 0; number < 5; number += 1) counters.push(await startCounter(victim.name));
    await ok('node', 'drain', victim.name, '--wait', '--timeout', '200s');
    for (const counter of counters) expect((await counter.states())[victim.name]).toBeUndefined();
    for (const counter of counters) await counter.countsOn();
    await ok('node', 'ready', victim.name);
    for (const { id } of counters) await runsOn({ id, name: id }, victim.name);
    for (const counter of counters) {
      await counter.runsOnlyOn(victim.name);
      await counter.countsOn();
    }
    await noneSince(cluster, sinceMs);
  });
});

describe('recovery with too little room', () => {
  it('starts the important VM, tells the other one the figures, and starts it when room appears', async () => {
    const { victim } = await chooseVictim(cluster);
    const [near, far] = lab.hosts.filter((host) => host !== victim);
    if (near === undefined || far === undefined) throw new Error('there are too few hosts');
    const { capacity } = await capacityOf(near);
    // Of what the others have, both leave too little for two, and one of them room for one.
    const each = capacity * 0.4;
    await define(near, { memory: capacity * 0.5 });
    const filler = await define(far, { memory: capacity * 0.9 });
    const low = await define(victim, { memory: each, priority: 1, start: true });
    const high = await define(victim, { memory: each, priority: 9, start: true });
    await crashHost(victim);
    await runsOn(high, near.name);
    await until(`${low.name} waits for room`, BACK_LIMIT_MS, async () => {
      const status = (await cluster.vm(low.id))?.status;
      return status?.state === VmState.WAITING_TARGET ? undefined : status?.detail;
    });
    const { status } = (await cluster.vm(low.id)) ?? {};
    expect(status?.detail).toMatch(new RegExp(`${far.name}: .*GiB`));
    await removeGuest(cluster, filler);
    guests = guests.filter((guest) => guest !== filler);
    await runsOn(low, far.name);
    await comeBack(cluster, victim);
  });
});

async function runsOn({ id, name }: Guest, node: string): Promise<void> {
  await until(`${name} runs on ${node}`, BACK_LIMIT_MS, async () => {
    const vm = await cluster.vm(id);
    if (vm?.status?.state === VmState.RUNNING && vm.placement?.node === node && vm.placement.migrationId === '') return undefined;
    return `on ${vm?.placement?.node ?? '?'}: ${vm?.status?.detail ?? 'nobody tells'}`;
  });
}

async function capacityOf(host: HostLayout): Promise<{ capacity: number }> {
  const { nodes } = await cluster.api.scheduler.listNodes({});
  const node = nodes.find(({ name }) => name === host.name);
  return { capacity: Number(node?.figures?.memory?.totalBytes ?? 0n) };
}

/** Defines a guest of so many bytes; what is not started counts as well. */
async function define(on: HostLayout, { memory, priority = 0, start = false }: { memory: number; priority?: number; start?: boolean }): Promise<Guest> {
  const name = `room-${randomUUID().slice(0, 6)}`;
  const guest = { id: randomUUID(), name };
  await ensureImage(lab, { kind: 'counter' });
  const domainXml = guestXml(lab, { kind: 'counter', name, uuid: guest.id, memoryMib: Math.floor(memory / 2 ** 20) });
  guests.push(guest);
  await cluster.api.scheduler.defineVm({ spec: { domainXml, priority }, node: on.name, start });
  await until(`${name} is as it should be`, BACK_LIMIT_MS, async () => {
    const vm = await cluster.vm(guest.id);
    const wanted = start ? VmState.RUNNING : VmState.STOPPED;
    return vm?.desired === (start ? VmDesired.RUNNING : VmDesired.STOPPED) && vm.status?.state === wanted ? undefined : vm?.status?.detail ?? '?';
  });
  return guest;
}
