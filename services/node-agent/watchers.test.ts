// SPDX-License-Identifier: Apache-2.0
import { NodeConditionType, WatchNodeRequest, type WatchNodeResponse } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { withPlacementEpoch } from '../core/domain-xml/epoch.js';
import { call, domainXml, overriding, TestBed, VM, type TestNode } from './test-bed.js';
import { TestLeader } from './test-leader.js';

/** Reads a stream at its own pace. */
function watch(node: TestNode) {
  const leave = new AbortController();
  const messages: WatchNodeResponse[] = [];
  const read = async (): Promise<void> => {
    for await (const message of node.service.watchNode(WatchNodeRequest.create({}), call(leave.signal))) {
      messages.push(message as WatchNodeResponse);
    }
  };
  const done = read();
  return { messages, leave: () => { leave.abort(); return done; } };
}

describe('the stream of a node', () => {
  it('begins with a snapshot, then has changes and what is gone, and a heartbeat in between', async () => {
    const bed = new TestBed();
    const a = await bed.node('a');
    const leader = new TestLeader(bed);
    await leader.apply(a, 1n);
    await bed.clock.advance(3_000);
    const { messages, leave } = watch(a);
    await bed.clock.advance(10_000);
    expect(messages[0]).toMatchObject({ vmsComplete: true, sequence: 1n, node: { name: 'a', ready: true } });
    expect(messages[0]?.vms).toMatchObject([{ vmId: VM, running: true }]);
    expect(messages.map(({ sequence }) => sequence)).toEqual(messages.map((_, index) => BigInt(index + 1)));

    const before = messages.length;
    a.host.crashGuest(VM);
    await bed.clock.advance(500);
    expect(messages.slice(before).flatMap(({ vms }) => vms).map(({ running }) => running)).toContain(false);
    await leader.stop(a, 1n);
    await leader.giveUp(a, 1n);
    await bed.clock.advance(500);
    expect(messages.flatMap(({ vmsGone }) => vmsGone)).toEqual([VM]);
    await leave();
  });

  it('goes on with every collector hung, and shows how old its figures are', async () => {
    const bed = new TestBed();
    let hung = false;
    const never = new Promise<never>(() => undefined);
    const a = await bed.node('a', {
      hypervisor: (real) =>
        overriding(real, {
          list: (limit) => (hung ? never : real.list(limit)),
          usage: (limit) => (hung ? never : real.usage(limit)),
          find: (uuid, limit) => (hung ? never : real.find(uuid, limit)),
        }),
    });
    await bed.clock.advance(6_000);
    hung = true;
    const { messages, leave } = watch(a);
    const atMs: number[] = [];
    for (let second = 0; second < 60; second++) {
      const before = messages.length;
      await bed.clock.advance(1_000);
      if (messages.length > before) atMs.push(bed.clock.nowMs());
    }
    expect(atMs).toHaveLength(60);
    const last = messages.filter(({ node }) => node !== undefined).at(-1)?.node;
    expect(last?.conditions.map(({ type }) => type)).toContain(NodeConditionType.LIBVIRT_DOWN);
    const vms = last?.figures?.ages.find(({ collector }) => collector === 'vms');
    expect(Number(vms?.age?.seconds ?? 0n)).toBeGreaterThan(30);
    expect(vms?.failure).toMatch(/no answer within 3000 ms/);
    // The host's own figures do not depend on the hypervisor.
    expect(last?.figures?.ages.find(({ collector }) => collector === 'host')?.failure).toBe('');
    await leave();
  });

  it('stands a storm of VMs that come and go while it collects', async () => {
    const bed = new TestBed();
    const a = await bed.node('a');
    const { messages, leave } = watch(a);
    const hypervisor = a.host.hypervisor();
    const uuidOf = (n: number): string => `00000000-0000-4000-8000-${String(n).padStart(12, '0')}`;
    const storm = async (): Promise<void> => {
      for (let round = 0; round < 5; round++) {
        for (let n = 0; n < 20; n++) {
          const xml = withPlacementEpoch(domainXml({ uuid: uuidOf(n), name: `vm-${String(n)}`, memory: '1' }), 1n);
          await hypervisor.define(xml, { deadlineMs: 1_000 });
          if (n % 2 === 0) await hypervisor.undefine(uuidOf(n), { deadlineMs: 1_000 });
        }
      }
    };
    await bed.run(storm());
    await bed.clock.advance(10_000);
    const known = new Map<string, boolean>();
    for (const { vms, vmsGone } of messages) {
      for (const vm of vms) known.set(vm.vmId, true);
      for (const id of vmsGone) known.delete(id);
    }
    expect([...known.keys()].sort()).toEqual(Array.from({ length: 10 }, (_, n) => uuidOf(n * 2 + 1)));
    expect(a.log.lines.filter(({ state }) => state === 'e')).toEqual([]);
    await leave();
  });

  it('tells of a VM, and of the node, only what has changed: that it was looked at again is no news', async () => {
    const bed = new TestBed();
    const a = await bed.node('a');
    const leader = new TestLeader(bed);
    await leader.apply(a, 1n);
    await leader.stop(a, 1n);
    await bed.clock.advance(12_000);
    const { messages, leave } = watch(a);
    await bed.clock.advance(60_000);
    expect(messages[0]?.vms).toMatchObject([{ vmId: VM, running: false }]);
    expect(messages.slice(1).flatMap(({ vms }) => vms)).toEqual([]);
    const ofNode = messages.slice(1).flatMap(({ node }) => node?.figures?.ages ?? []);
    expect(messages.length).toBeGreaterThan(50);
    // Its ages are told anew now and then.
    const told = ofNode.filter(({ collector }) => collector === 'vms');
    expect(told.length).toBeGreaterThan(2);
    expect(told.length).toBeLessThan(8);
    await leave();
  });

  it('gives a slow reader the newest state instead of everything it missed', async () => {
    const bed = new TestBed();
    const a = await bed.node('a');
    const leader = new TestLeader(bed);
    const leave = new AbortController();
    const stream = a.service.watchNode(WatchNodeRequest.create({}), call(leave.signal))[Symbol.asyncIterator]();
    await bed.run(stream.next());
    await leader.apply(a, 1n);
    await bed.clock.advance(120_000);
    const next = await bed.run(stream.next());
    const message = next.value as WatchNodeResponse;
    expect(message.sequence).toBe(2n);
    expect(message.vms).toMatchObject([{ vmId: VM, running: true }]);
    leave.abort();
    await bed.run(stream.next());
  });

  it('costs nothing for a frozen guest, nor for an incoming one', async () => {
    const bed = new TestBed();
    const a = await bed.node('a');
    const b = await bed.node('b');
    const leader = new TestLeader(bed);
    await leader.apply(a, 1n);
    await bed.clock.advance(3_000);
    await leader.prepareTarget(b, await leader.prepareSource(a));
    const guest = a.host.guest(VM);
    guest?.freeze(true);
    const watching = [watch(a), watch(b)];
    await bed.clock.advance(30_000);
    for (const { messages } of watching) {
      const ages = messages.flatMap(({ node }) => node?.figures?.ages ?? []);
      expect(ages.filter(({ collector, failure }) => collector === 'vms' && failure !== '')).toEqual([]);
      expect(messages.length).toBeGreaterThan(30);
    }
    guest?.freeze(false);
    await Promise.all(watching.map(({ leave }) => leave()));
  });
});
