// SPDX-License-Identifier: Apache-2.0
import { LeaderRole, Node, VmReport } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { LockstepError } from '../core/errors/catalogue.js';
import { nodeCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { createNodeStreams, type NodeStreamsOptions } from './node-streams.js';
import { createWorld, type Said } from './test-world.js';

function watching(more: Partial<NodeStreamsOptions> = {}) {
  const world = createWorld();
  const { env, cut } = world.envOf('leader');
  const term = new AbortController();
  const streams = createNodeStreams({ env, role: 'scheduler', leaderEpoch: 7n, signal: term.signal, ...more });
  const agentIn = async (name: string, said: Said = { ready: true }) => {
    const agent = world.agent(name);
    await agent.join(said);
    await world.clock.advance(1_000);
    return agent;
  };
  return { ...world, cut, term, streams, agentIn };
}

const vm = (vmId: string, name = vmId): VmReport => VmReport.fromPartial({ vmId, name });

describe('the streams of nodes', () => {
  it('show every node that has joined, with its record, its session and what its agent says', async () => {
    const { streams, agentIn } = watching();
    const h2 = await agentIn('h2', { ready: true, agentVersion: '1.2.3' });
    await agentIn('h1', { ready: false });

    expect(streams.loaded()).toBe(true);
    expect(streams.nodes().map(({ name }) => name)).toEqual(['h1', 'h2']);
    const view = streams.node('h2');
    expect(view).toMatchObject({ connected: true, trouble: '', record: { incarnation: 1n } });
    expect(view?.session).toMatch(/-/);
    expect(view?.report?.node).toMatchObject({ ready: true, agentVersion: '1.2.3' });
    expect(h2.watchers).toEqual([
      { header: { leaderRole: LeaderRole.SCHEDULER, leaderEpoch: 7n, incarnation: 1n } },
    ]);
  });

  it('follow the VMs that come, change and go', async () => {
    const { clock, streams, agentIn } = watching();
    const h1 = await agentIn('h1');
    h1.vms = [vm('1'), vm('2')];
    await clock.advance(6_000);
    expect([...(streams.node('h1')?.report?.vms.keys() ?? [])]).toEqual(['1', '2']);
    h1.vms = [vm('2', 'renamed')];
    await clock.advance(6_000);
    expect([...(streams.node('h1')?.report?.vms.values() ?? [])]).toEqual([vm('2', 'renamed')]);
  });

  it('age by heartbeats while nothing else is said', async () => {
    const { clock, streams, agentIn } = watching();
    const h1 = await agentIn('h1');
    await clock.advance(60_000);
    expect(clock.nowMs() - (streams.node('h1')?.lastMessageAtMs ?? 0)).toBeLessThan(1_001);
    await h1.turn('hung');
    await clock.advance(16_000);
    expect(clock.nowMs() - (streams.node('h1')?.lastMessageAtMs ?? 0)).toBeGreaterThan(15_000);
    expect(streams.node('h1')?.report?.node.ready).toBe(true);
  });

  it('drop a stream that says nothing and open it anew', async () => {
    const { clock, streams, agentIn } = watching();
    const h1 = await agentIn('h1');
    expect(h1.opened).toBe(1);
    await h1.turn('hung');
    await clock.advance(26_000);
    expect(streams.node('h1')).toMatchObject({ connected: false });
    expect(streams.node('h1')?.trouble).toContain('stream of h1');
    await h1.turn('up');
    await clock.advance(26_000);
    expect(streams.node('h1')).toMatchObject({ connected: true, trouble: '' });
    expect(h1.watchers).toHaveLength(1);
  });

  it('come back with a bounded number of tries after an agent was down', async () => {
    const { clock, streams, agentIn } = watching();
    const h1 = await agentIn('h1');
    await h1.turn('down');
    await clock.advance(100_000);
    expect(streams.node('h1')).toMatchObject({ connected: false, trouble: 'h1 does not answer' });
    expect(h1.opened).toBeLessThan(50);
    await h1.turn('up');
    await clock.advance(6_000);
    expect(streams.node('h1')?.connected).toBe(true);
  });

  it('are opened anew at once, for the new incarnation, when an agent joins again', async () => {
    const { clock, streams, agentIn } = watching();
    const h1 = await agentIn('h1');
    await h1.turn('down');
    await clock.advance(60_000);
    await h1.join({ ready: true });
    await clock.advance(100);
    expect(streams.node('h1')).toMatchObject({ connected: true, record: { incarnation: 2n } });
    expect(h1.watchers).toEqual([
      { header: { leaderRole: LeaderRole.SCHEDULER, leaderEpoch: 7n, incarnation: 2n } },
    ]);
  });

  it('show a session that ended, and keep what was known while the store is away', async () => {
    const { clock, streams, agentIn, cut } = watching();
    const h1 = await agentIn('h1');
    await h1.loseSession();
    await clock.advance(100);
    expect(streams.node('h1')).toMatchObject({ session: undefined, connected: true });

    expect(streams.storeTroubleAtMs()).toBeUndefined();
    cut(true);
    await clock.advance(60_000);
    expect(clock.nowMs() - (streams.storeTroubleAtMs() ?? 0)).toBeLessThan(6_000);
    expect(streams.node('h1')?.connected).toBe(true);
  });

  it('keep a node whose record cannot be read any more, and forget one whose record is gone', async () => {
    const { clock, server, streams, agentIn } = watching();
    const h1 = await agentIn('h1');
    const store = server.store('operator');
    await store.txn([{ op: 'set', key: keys.node('h1'), value: '{' }]);
    await clock.advance(100);
    expect(streams.node('h1')).toMatchObject({ connected: true, record: { incarnation: 1n } });
    await store.txn([{ op: 'delete', key: keys.node('h1') }]);
    await clock.advance(100);
    expect(streams.nodes()).toEqual([]);
    expect(h1.watchers).toHaveLength(0);
  });

  it('tell of changes once for all that came together, and not of heartbeats', async () => {
    const { clock, streams, agentIn } = watching();
    const h1 = await agentIn('h1');
    let told = 0;
    const stop = streams.onChange(() => {
      told += 1;
    });
    await clock.advance(60_000);
    expect(told).toBe(0);
    h1.vms = [vm('1'), vm('2')];
    h1.say({ ready: false });
    await clock.advance(100);
    expect(told).toBe(1);
    stop();
    h1.say({ ready: true });
    await clock.advance(100);
    expect(told).toBe(1);
  });

  it('of many nodes are looked at no more often than that costs a bounded share of the time', async () => {
    const { clock, streams, agentIn } = watching();
    const agents = [];
    for (let index = 0; index < 80; index++) agents.push(await agentIn(`h${String(index)}`));
    let told = 0;
    let seen: (string | undefined)[] = [];
    streams.onChange(() => {
      told += 1;
      seen = streams.nodes().map(({ report }) => report?.node.agentVersion);
    });
    for (let round = 1; round <= 100; round++) {
      for (const agent of agents) agent.say({ agentVersion: String(round) });
      await clock.advance(1);
    }
    await clock.advance(1_000);
    expect(told).toBeGreaterThan(1);
    expect(told).toBeLessThan(12);
    expect(new Set(seen)).toEqual(new Set(['100']));
  });

  it('of a node that is there are opened soon, though hundreds of others are gone', async () => {
    const { clock, server, streams, agent } = watching();
    const record = (name: string, incarnation = 1n) =>
      nodeCodec.encode(Node.fromPartial({ name, address: `${name}:7701`, incarnation }));
    const store = server.store('operator');
    for (let index = 0; index < 300; index++) {
      const name = `a${String(index).padStart(3, '0')}`;
      await agent(name).turn('hung');
      await store.txn([{ op: 'set', key: keys.node(name), value: record(name) }]);
    }
    await agent('z').join({ ready: true });
    await clock.advance(5_000);
    expect(streams.nodes()).toHaveLength(301);
    expect(streams.node('z')?.connected).toBe(true);
    // And again, while all the others are tried for the second and third time.
    await agent('z').turn('down');
    await clock.advance(30_000);
    await agent('z').join({ ready: true });
    await clock.advance(5_000);
    expect(streams.node('z')?.connected).toBe(true);
  });

  it('hand a refusal for a stale epoch on', async () => {
    const troubles: unknown[] = [];
    const { clock, agentIn } = watching({
      onTrouble: (node, error) => {
        troubles.push([node, error]);
      },
    });
    const h1 = await agentIn('h1');
    const stale = new LockstepError('STALE_EPOCH', 'epoch 9 is known');
    h1.refuse(stale);
    await clock.advance(1_000);
    expect(troubles).toContainEqual(['h1', stale]);
  });

  it('end with the term and leave nothing behind', async () => {
    const { clock, server, streams, term, agentIn } = watching();
    const h1 = await agentIn('h1');
    const h2 = await agentIn('h2');
    await h2.turn('down');
    term.abort(new Error('over'));
    await clock.advance(100);
    await streams.done;
    expect(h1.watchers).toHaveLength(0);
    await h1.loseSession();
    await h2.loseSession();
    server.close();
    expect(clock.nextDueMs()).toBeUndefined();
  });
});
