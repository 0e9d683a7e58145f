// SPDX-License-Identifier: Apache-2.0
import { MigrationRole } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { TestBed, VM, type TestNode } from '../test-bed.js';
import { endCookie, SOURCE_EPOCH, TestLeader } from '../test-leader.js';
import { leftovers, settle, type Heard } from '../test-settle.js';

const { SOURCE, TARGET } = MigrationRole;

/** Where an agent can be stopped, on which node, in the order in which a migration passes them. */
const POINTS: [node: 'a' | 'b', point: string][] = [
  ['a', 'agent/prepare-source/noted'],
  ['a', 'agent/prepare-source/begun'],
  ['b', 'agent/prepare-target/armed'],
  ['b', 'agent/prepare-target/built'],
  ['a', 'agent/transfer/noted'],
  ['a', 'agent/transfer/ended'],
  ['b', 'agent/commit-target/finishing'],
  ['b', 'agent/commit-target/finished'],
  ['a', 'agent/commit-source/floored'],
  ['a', 'agent/commit-source/gone'],
];

const ABORT_POINTS: [node: 'a' | 'b', point: string][] = [
  ['b', 'agent/abort-target/floored'],
  ['b', 'agent/abort-target/destroyed'],
  ['a', 'agent/abort-source/cancelled'],
  ['a', 'agent/abort-source/resumed'],
];

interface Scene {
  bed: TestBed;
  a: TestNode;
  b: TestNode;
  leader: TestLeader;
  heard: Heard;
  reached: string[];
}

/** A cluster with the VM running on `a`; the agent that comes to `point` dies there. */
async function scene(dieAt: string | undefined): Promise<Scene> {
  const bed = new TestBed();
  const reached: string[] = [];
  const points = (name: string) => async (point: string): Promise<void> => {
    reached.push(`${name}:${point}`);
    if (dieAt !== `${name}:${point}`) return;
    dieAt = undefined;
    await nodes[name]?.kill();
    await new Promise(() => undefined);
  };
  const nodes: Record<string, TestNode> = {};
  nodes['a'] = await bed.node('a', { points: points('a') });
  nodes['b'] = await bed.node('b', { points: points('b') });
  const { a, b } = nodes as { a: TestNode; b: TestNode };
  const leader = new TestLeader(bed);
  leader.callLimitMs = 60_000;
  await bed.record({ node: 'a', epoch: SOURCE_EPOCH });
  await leader.apply(a, SOURCE_EPOCH);
  await bed.clock.advance(10_000);
  return { bed, a, b, leader, heard: { endHeard: false, endCookie: Buffer.alloc(0) }, reached };
}

async function openRecord({ bed, leader }: Scene): Promise<void> {
  await bed.record({ node: 'a', epoch: SOURCE_EPOCH, migrationId: leader.migrationId });
}

async function migrate(all: Scene): Promise<void> {
  const { bed, a, b, leader, heard } = all;
  await openRecord(all);
  const begun = await leader.prepareSource(a);
  const vote = await leader.prepareTarget(b, begun);
  heard.endCookie = endCookie(await leader.transfer(a, vote));
  heard.endHeard = true;
  const { cookie } = await leader.commit(b, TARGET, heard.endCookie);
  await bed.record({ node: 'b', epoch: leader.targetEpoch, migrationId: leader.migrationId });
  await leader.commit(a, SOURCE, cookie);
}

async function expectOneCopy({ bed, a, b }: Scene): Promise<void> {
  await bed.clock.advance(120_000);
  expect(bed.doubled).toEqual([]);
  expect(bed.runningOn()).toHaveLength(1);
  expect(leftovers([a, b], bed.runningOn()[0] ?? '')).toEqual([]);
}

describe('an agent that dies at a step of a migration', () => {
  it('passes every point that these tests stop at', async () => {
    const all = await scene(undefined);
    await migrate(all);
    const passed = all.reached.filter((point) => !point.includes('reconcile') && !point.includes('joined'));
    expect(passed.filter((point) => !point.includes('apply'))).toEqual(POINTS.map(([node, point]) => `${node}:${point}`));
  });

  it.each(POINTS)('%s at %s: one copy runs, nothing is left over', async (node, point) => {
    const all = await scene(`${node}:${point}`);
    await expect(migrate(all)).rejects.toThrow();
    const dead = node === 'a' ? all.a : all.b;
    await dead.restart();
    await all.bed.clock.advance(30_000);
    await settle(all.bed, all.a, all.b, all.heard);
    await expectOneCopy(all);
  });

  it.each(ABORT_POINTS)('%s at %s, while a migration is undone: one copy runs', async (node, point) => {
    const all = await scene(`${node}:${point}`);
    const { leader, a, b } = all;
    await openRecord(all);
    const begun = await leader.prepareSource(a);
    await leader.prepareTarget(b, begun);
    const undo = async (): Promise<void> => {
      await leader.abort(b, TARGET);
      await leader.abort(a, SOURCE);
    };
    await expect(undo()).rejects.toThrow();
    await (node === 'a' ? a : b).restart();
    await all.bed.clock.advance(30_000);
    await settle(all.bed, a, b, all.heard);
    await expectOneCopy(all);
    expect(all.bed.runningOn()).toEqual(['a']);
  });

  it('the source, in the middle of the transfer: the hypervisor goes on alone, and the guest is not lost', async () => {
    const all = await scene(undefined);
    const { bed, a, b, leader, heard } = all;
    bed.network.limit('a', 'b', 20_000_000);
    await openRecord(all);
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    void leader.collect(a, vote).catch(() => undefined);
    await bed.clock.advance(3_000);
    await a.kill();
    await a.restart();
    await bed.clock.advance(5_000);
    const actions = await settle(bed, a, b, heard);
    expect(actions).not.toContain('COLD');
    await expectOneCopy(all);
  });

  it.each(['a', 'b'] as const)('%s, between the end of the transfer and the commit', async (node) => {
    const all = await scene(undefined);
    const { bed, a, b, leader, heard } = all;
    await openRecord(all);
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    heard.endCookie = endCookie(await leader.transfer(a, vote));
    heard.endHeard = true;
    const dead = node === 'a' ? a : b;
    await dead.kill();
    await dead.restart();
    await bed.clock.advance(30_000);
    const actions = await settle(bed, a, b, heard);
    // The source's guest stands without a job, or the prepared one went with its agent: both can be told safely.
    expect(actions).not.toContain('COLD');
    await expectOneCopy(all);
    expect(bed.runningOn()).toEqual([node === 'a' ? 'b' : 'a']);
  });
});

/** What breaks beside the agents themselves. */
const FAULTS: [string, (scene: Scene) => Promise<void>][] = [
  ['the hypervisor of the source', ({ a }) => restartDaemon(a)],
  ['the hypervisor of the target', ({ b }) => restartDaemon(b)],
  ['the guest on the source', ({ a }) => crash(a)],
  ['the guest on the target', ({ b }) => crash(b)],
  ['the power of the source', (all) => cyclePower(all, all.a)],
  ['the power of the target', (all) => cyclePower(all, all.b)],
];

function restartDaemon({ host }: TestNode): Promise<void> {
  host.killDaemon();
  host.startDaemon();
  return Promise.resolve();
}

function crash({ host }: TestNode): Promise<void> {
  if (host.guests().length > 0) host.crashGuest(VM);
  return Promise.resolve();
}

async function cyclePower({ bed }: Scene, node: TestNode): Promise<void> {
  await node.kill();
  node.host.losePower();
  await bed.clock.advance(5_000);
  node.host.gainPower();
  node.state.reboot();
  await node.restart();
}

/** When it breaks: after which step. */
const MOMENTS = ['prepared', 'transferring', 'transferred', 'committed'] as const;

describe.each(FAULTS)('%s fails', (_what, fault) => {
  it.each(MOMENTS)('when the migration is %s: one copy runs, none is doubled, nothing is left', async (moment) => {
    const all = await scene(undefined);
    const { bed, a, b, leader, heard } = all;
    bed.network.limit('a', 'b', 100_000_000);
    await openRecord(all);
    const breakAt = async (now: (typeof MOMENTS)[number]): Promise<void> => {
      if (now !== moment) return;
      await fault(all);
      await bed.clock.advance(10_000);
      throw new Error('it broke');
    };
    const go = async (): Promise<void> => {
      const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
      await breakAt('prepared');
      const stream = leader.collect(a, vote);
      stream.catch(() => undefined);
      await bed.clock.advance(2_000);
      await breakAt('transferring');
      heard.endCookie = endCookie(await bed.run(stream));
      heard.endHeard = true;
      await breakAt('transferred');
      await leader.commit(b, TARGET, heard.endCookie);
      await breakAt('committed');
    };
    await expect(go()).rejects.toThrow('it broke');
    const actions = await settle(bed, a, b, heard);
    expect(actions).not.toContain('ALERT');
    await expectOneCopy(all);
  });
});

describe('the target dies inside Finish', () => {
  it.each([0, 1, 2, 3])('%i ms after it was called: an orphaned Finish doubles nothing', async (afterMs) => {
    const all = await scene(undefined);
    const { bed, a, b, leader, heard } = all;
    await openRecord(all);
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    heard.endCookie = endCookie(await leader.transfer(a, vote));
    heard.endHeard = true;
    const committing = leader.commit(b, TARGET, heard.endCookie);
    committing.catch(() => undefined);
    await bed.clock.advance(afterMs);
    await b.kill();
    await b.restart();
    await bed.clock.advance(30_000);
    await settle(bed, a, b, heard);
    await expectOneCopy(all);
  });
});
