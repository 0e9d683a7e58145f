// SPDX-License-Identifier: Apache-2.0
import {
  Migration,
  MigrationRole,
  Node,
  NodeAgentServiceGetNodeRequest,
  NodeConditionType,
  TargetFact,
} from '@lockstep/sdk/v1';
import { beforeEach, describe, expect, it } from 'vitest';
import { migrationCodec, nodeCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { call, overriding, TestBed, VM, type TestNode } from './test-bed.js';
import { MIGRATION, SOURCE_EPOCH, TestLeader } from './test-leader.js';

let bed: TestBed;

beforeEach(() => {
  bed = new TestBed();
});

async function nodeOf(node: TestNode) {
  const answer = await Promise.resolve(node.service.getNode(NodeAgentServiceGetNodeRequest.create({}), call()));
  return answer.node;
}

describe('joining', () => {
  it('counts every life, clears FENCED, and keeps what others wrote', async () => {
    const record = Node.create({ name: 'a', incarnation: 6n, fencedBy: 'action-1', mode: 2, labels: { rack: '7' } });
    await bed.store.txn([{ op: 'set', key: keys.node('a'), value: nodeCodec.encode(record) }]);
    const a = await bed.node('a');
    const joined = await bed.nodeRecord('a');
    expect(joined).toMatchObject({ incarnation: 7n, fencedBy: '', mode: 2, labels: { rack: '7' }, address: 'a:7701' });
    expect(joined?.hostUuid).toBe(a.host.info.hostUuid);
  });

  it('is refused where another host has the name, and says so', async () => {
    const record = Node.create({ name: 'a', incarnation: 6n, hostUuid: '00000000-0000-4000-8000-00000000000f' });
    await bed.store.txn([{ op: 'set', key: keys.node('a'), value: nodeCodec.encode(record) }]);
    const a = await bed.node('a');
    expect(a.fatal[0]?.message).toMatch(/node a is host 0{8}-.* in the store, and this host is/);
    expect(await bed.nodeRecord('a')).toMatchObject({ incarnation: 6n });
  });

  it('holds the lease on its liveness with its incarnation, and gives it back when it stops', async () => {
    const a = await bed.node('a');
    const held = await bed.store.get(keys.alive('a'));
    expect(held?.session).toBeDefined();
    expect(JSON.parse(held?.value ?? '')).toEqual({ node: 'a', incarnation: '1' });
    await bed.run(a.agent.stop());
    expect((await bed.store.get(keys.alive('a')))?.session).toBeUndefined();
  });

  it('works without the hypervisor where the host has its memory', async () => {
    const a = await bed.node('a');
    await a.kill();
    a.host.killDaemon();
    await a.restart();
    await bed.clock.advance(10_000);
    expect(await bed.nodeRecord('a')).toMatchObject({ incarnation: 2n, hostUuid: a.host.info.hostUuid });
    const shown = await nodeOf(a);
    expect(shown?.ready).toBe(false);
    expect(shown?.conditions?.map((condition) => condition.type)).toContain(NodeConditionType.LIBVIRT_DOWN);
  });

  it('of a host that lost its memory tells that a guest may have run there', async () => {
    const b = await bed.node('b');
    await bed.record({ node: 'a', epoch: SOURCE_EPOCH, migrationId: MIGRATION });
    const migration = Migration.create({ id: MIGRATION, vmId: VM, sourceNode: 'a', targetNode: 'b', placementEpoch: 2n });
    await bed.store.txn([{ op: 'set', key: keys.migration(MIGRATION), value: migrationCodec.encode(migration) }]);
    await b.kill();
    b.state.load = () => Promise.resolve(undefined);
    await b.restart();
    await bed.clock.advance(2_000);
    expect((await new TestLeader(bed).seize(b, MigrationRole.TARGET)).targetFact).toBe(TargetFact.MAYBE);
  });
});

describe('losing the lease', () => {
  it('touches no VM, is shown, and ends when the lease is held again, without a new life', async () => {
    let cut = false;
    const a = await bed.node('a', {
      store: (real) =>
        overriding(real, {
          acquire: (options) => (cut ? Promise.reject(new Error('no server')) : real.acquire(options)),
        }),
    });
    await bed.record({ node: 'a', epoch: SOURCE_EPOCH });
    await new TestLeader(bed).apply(a, SOURCE_EPOCH);
    await bed.clock.advance(5_000);
    cut = true;
    bed.embedded.failNode('a');
    await bed.clock.advance(60_000);
    const lost = await nodeOf(a);
    expect(lost).toMatchObject({ ready: false });
    expect(lost?.notReadyReason).toMatch(/STORE_LOST.*no server/);
    expect(lost?.conditions?.map((condition) => condition.type)).toContain(NodeConditionType.STORE_LOST);
    expect(bed.runningOn()).toEqual(['a']);
    cut = false;
    await bed.clock.advance(30_000);
    expect((await nodeOf(a))?.ready).toBe(true);
    expect((await bed.store.get(keys.alive('a')))?.session).toBeDefined();
    expect(await a.incarnation()).toBe(1n);
  });

  it('joins anew where it was taken for dead meanwhile, and gives up what was started elsewhere', async () => {
    const a = await bed.node('a');
    await bed.record({ node: 'a', epoch: SOURCE_EPOCH });
    await new TestLeader(bed).apply(a, SOURCE_EPOCH);
    await bed.clock.advance(5_000);
    const before = await bed.nodeRecord('a');
    const fenced = nodeCodec.encode({ ...Node.create(before), fencedBy: 'action-1' });
    await bed.store.txn([{ op: 'set', key: keys.node('a'), value: fenced }]);
    await bed.record({ node: 'b', epoch: 2n });
    bed.embedded.failNode('a');
    await bed.clock.advance(40_000);
    expect(await bed.nodeRecord('a')).toMatchObject({ incarnation: 2n, fencedBy: '' });
    expect(bed.runningOn()).toEqual([]);
    expect(a.host.guests()).toEqual([]);
  });
});
