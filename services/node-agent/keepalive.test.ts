// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { LeaderRole, NodeConditionType, type WatchNodeResponse } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { withPlacementEpoch } from '../core/domain-xml/epoch.js';
import { sleep } from '../platform/clock/clock.js';
import type { Hypervisor } from '../platform/hypervisor/hypervisor.js';
import { createPrometheusMetrics } from '../platform/metrics/prometheus.js';
import { createMemoryLogger } from '../platform/log/memory.js';
import { StoreError } from '../platform/store/store.js';
import { createSimulatedBmc } from '../platform/power/simulated.js';
import { call, domainXml, overriding, TestBed, type TestNode } from './test-bed.js';

const GIB = 2n ** 30n;
const CALL = { deadlineMs: 5_000 };
const never = (): Promise<never> => new Promise(() => undefined);

async function shown(bed: TestBed, { service }: TestNode) {
  const { node, vms } = await bed.run(service.getNode({ header: undefined }, call()));
  if (node?.figures?.memory === undefined) throw new Error('no figures');
  return { node, memory: node.figures.memory, ages: node.figures.ages ?? [], vms: vms ?? [] };
}

async function define(bed: TestBed, node: TestNode, name: string, memory = '1'): Promise<string> {
  const uuid = randomUUID();
  await bed.run(node.host.hypervisor().define(withPlacementEpoch(domainXml({ uuid, name, memory }), 3n), CALL));
  return uuid;
}

/** Follows the node and keeps what comes with its time, until it is left. */
function following(bed: TestBed, node: TestNode) {
  const leave = new AbortController();
  const heard: { atMs: number; message: WatchNodeResponse }[] = [];
  void (async () => {
    for await (const message of node.service.watchNode({ header: undefined }, call(leave.signal))) {
      heard.push({ atMs: bed.clock.nowMs(), message: message as WatchNodeResponse });
    }
  })();
  return { heard, leave: () => { leave.abort(); } };
}

const hanging = (real: Hypervisor): Hypervisor => overriding(real, { list: never, usage: never });

describe('the heartbeat', () => {
  it('ancestor 22: goes on in time while every collector hangs, and every figure says why it is old', async () => {
    const bed = new TestBed();
    const node = await bed.node('h1', { hypervisor: hanging, ceph: { report: never } });
    const { heard, leave } = following(bed, node);
    await bed.clock.advance(60_000);
    leave();
    const gaps = heard.slice(1).map(({ atMs }, index) => atMs - (heard[index]?.atMs ?? 0));
    expect(heard.length).toBeGreaterThanOrEqual(60);
    expect(Math.max(...gaps)).toBeLessThanOrEqual(1_000);
    const { node: told, ages } = await shown(bed, node);
    for (const name of ['vms', 'usage', 'ceph']) {
      expect(ages.find(({ collector }) => collector === name)?.failure, name).toMatch(/ms/);
    }
    expect(told.conditions?.map(({ type }) => type)).toContain(NodeConditionType.LIBVIRT_DOWN);
    expect(told.notReadyReason).toContain('HYPERVISOR_DOWN');
  });

  it('ancestor 24: a store that fails is named as the reason, is tried again, and nothing is taken for an answer', async () => {
    const bed = new TestBed();
    const link = { broken: false };
    const failing = async <T>(work: () => Promise<T>): Promise<T> => {
      if (link.broken) throw new StoreError('unavailable', 'the store was stopped by the test');
      return await work();
    };
    const node = await bed.node('h1', {
      store: (real) =>
        overriding(real, {
          acquire: (request) => failing(() => real.acquire(request)),
          get: (key, read) => failing(() => real.get(key, read)),
          list: (prefix, read) => failing(() => real.list(prefix, read)),
        }),
    });
    await bed.clock.advance(2_000);
    link.broken = true;
    bed.embedded.failNode('h1');
    await bed.clock.advance(30_000);
    const { node: told } = await shown(bed, node);
    expect(told.notReadyReason).toContain('STORE_LOST: ');
    expect(told.notReadyReason).toContain('stopped by the test');
    expect(told.conditions?.map(({ type }) => type)).toContain(NodeConditionType.STORE_LOST);
    link.broken = false;
    await bed.clock.advance(60_000);
    expect((await shown(bed, node)).node).toMatchObject({ ready: true, notReadyReason: '' });
  });
});

describe('a collector', () => {
  it('ancestor 23: that ran out of time is not waited for again, and its late value is dropped', async () => {
    const bed = new TestBed();
    let passes = 0;
    let running = 0;
    let most = 0;
    const late = (real: Hypervisor): Hypervisor =>
      overriding(real, {
        usage: async (limit) => {
          passes += 1;
          running += 1;
          most = Math.max(most, running);
          const mine = passes;
          if (mine === 2) await sleep(bed.clock, 20_000);
          running -= 1;
          const usages = await real.usage(limit);
          return mine === 2 ? usages.map((usage) => ({ ...usage, memoryUsedBytes: 999n })) : usages;
        },
      });
    const node = await bed.node('h1', { hypervisor: late });
    const uuid = await define(bed, node, 'web');
    await bed.run(node.host.hypervisor().start(uuid, CALL));
    const used = async () => (await shown(bed, node)).vms.find(({ vmId }) => vmId === uuid)?.status?.memoryUsedBytes;
    for (let second = 0; second < 40; second += 1) {
      await bed.clock.advance(1_000);
      expect(await used()).not.toBe(999n);
    }
    expect(passes).toBeGreaterThan(4);
    // The one that hangs, and the one after it: never a third.
    expect(most).toBeLessThanOrEqual(2);
  });

  it('is not disturbed by VMs that come and go in a storm', async () => {
    const bed = new TestBed();
    const node = await bed.node('h1');
    for (let round = 0; round < 60; round += 1) {
      const uuid = await define(bed, node, `storm-${String(round)}`);
      await bed.clock.advance(137);
      if (round % 3 !== 0) await bed.run(node.host.hypervisor().undefine(uuid, CALL));
      for (const { collector, failure } of (await shown(bed, node)).ages) expect(failure, collector).toBe('');
    }
    await bed.clock.advance(6_000);
    expect((await shown(bed, node)).vms).toHaveLength(20);
  });
});

describe('memory', () => {
  it('ancestor 11: total is all RAM, not what is used and free together', async () => {
    const bed = new TestBed();
    const { memory } = await shown(bed, await bed.node('h1', { memoryBytes: 16n * GIB }));
    expect(memory.totalBytes).toBe(16n * GIB);
    expect(BigInt(memory.usedBytes ?? 0n)).toBe(16n * GIB - BigInt(memory.availableBytes ?? 0n));
  });

  it('ancestor 12: two stopped VMs of 1 GiB are provisioned and not allocated; more than there is shows everywhere', async () => {
    const bed = new TestBed();
    const metrics = createPrometheusMetrics({ log: createMemoryLogger() });
    const node = await bed.node('h1', { memoryBytes: 4n * GIB, metrics });
    await bed.clock.advance(6_000);
    const before = (await shown(bed, node)).memory;
    await define(bed, node, 'one');
    await define(bed, node, 'two');
    await bed.clock.advance(6_000);
    const { memory, node: fits } = await shown(bed, node);
    expect(BigInt(memory.provisionedBytes ?? 0n) - BigInt(before.provisionedBytes ?? 0n)).toBe(2n * GIB);
    expect(memory.allocatedBytes).toBe(before.allocatedBytes);
    expect(fits.conditions).toEqual([]);
    expect(await metrics.text()).toContain('lockstep_node_condition{condition="overprovisioned"} 0');
    await define(bed, node, 'three', '3');
    await bed.clock.advance(6_000);
    const { node: full } = await shown(bed, node);
    expect(full.conditions?.map(({ type }) => type)).toEqual([NodeConditionType.OVERPROVISIONED]);
    const text = await metrics.text();
    expect(text).toContain('lockstep_node_condition{condition="overprovisioned"} 1');
    expect(text).toContain(`lockstep_node_memory_bytes{kind="provisioned"} ${String(Number(5n * GIB))}`);
    expect(text).toContain('lockstep_node_memory_bytes{kind="allocated"} 0');
  });
});

describe('an agent that starts', () => {
  it('where 200 guests run is ready within seconds, and touches none of them', async () => {
    const bed = new TestBed();
    const node = await bed.node('h1', { memoryBytes: 256n * GIB });
    const hypervisor = node.host.hypervisor();
    for (let index = 0; index < 200; index += 1) {
      const uuid = await define(bed, node, `guest-${String(index)}`);
      await bed.run(hypervisor.start(uuid, CALL));
    }
    const before = bed.changes.length;
    // As for an upgrade.
    await bed.run(node.agent.stop());
    const startMs = bed.clock.nowMs();
    await node.restart();
    while (!(await shown(bed, node)).node.ready && bed.clock.nowMs() - startMs < 60_000) await bed.clock.advance(1_000);
    expect((await shown(bed, node)).node.notReadyReason).toBe('');
    expect(bed.clock.nowMs() - startMs).toBeLessThan(20_000);
    const { node: told, vms } = await shown(bed, node);
    expect(told).toMatchObject({ ready: true });
    expect(vms.filter(({ running }) => running)).toHaveLength(200);
    expect(bed.changes.slice(before)).toEqual([]);
  });
});

describe('ancestor 25: the BMC of a node', () => {
  it('is checked by its peers, who are the ones that need to reach it', async () => {
    const bed = new TestBed();
    const [h1, h2] = [await bed.node('h1'), await bed.node('h2')];
    const bmc = createSimulatedBmc({ clock: bed.clock, name: 'h1', guid: h1.host.info.hostUuid });
    bed.bmcs.set('h1', bmc);
    const header = { leaderRole: LeaderRole.FENCER, leaderEpoch: 1n, incarnation: await h2.incarnation() };
    const check = async () => await bed.run(h2.service.checkBmc({ header, node: 'h1' }, call()));
    expect((await check()).detail).not.toContain('does not');
    for (const [mode, words] of [['wrong-password', 'does not accept'], ['dead', 'does not answer']] as const) {
      bmc.mode = mode;
      expect((await check()).detail, mode).toContain(words);
    }
    bmc.mode = 'up';
    bmc.ownGuid = h2.host.info.hostUuid.replaceAll('-', '');
    expect((await check()).detail).toMatch(/h2|another/);
  });
});
