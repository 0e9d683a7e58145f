// SPDX-License-Identifier: Apache-2.0
import { Fenceability, FenceActionState, FenceDrillState, NodeMode, Vm, VmDesired, type NodeEvidence, type TestFencingResponse } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { POINTS } from '../../core/migration/points.js';
import { nodeCodec, vmCodec } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { callContext, type World } from '../../membership/test-world.js';
import type { Fencer } from '../fencer.js';
import { cluster } from '../test-cluster.js';

const NODES = ['h1', 'h2', 'h3'];
const WELL = { fenceability: Fenceability.FENCEABLE, detail: 'its BMC answers' };
const HOUR_MS = 3_600_000;

async function test(fencer: Fencer, node: string, powerCycle = false): Promise<TestFencingResponse> {
  return (await fencer.implementation.testFencing({ node, powerCycle }, callContext())) as TestFencingResponse;
}

async function evidence(fencer: Fencer, node: string): Promise<NodeEvidence> {
  const { evidence: found } = await fencer.implementation.getEvidence({ node }, callContext());
  return found as NodeEvidence;
}

/** Everybody can reach everybody's BMC. */
function reachable({ agent }: Pick<World, 'agent'>): void {
  for (const observer of NODES) for (const node of NODES) agent(observer).bmcs.set(node, WELL);
}

/** As an operator does before a host is opened. */
async function cordon({ server, clock }: Pick<World, 'server' | 'clock'>, node: string, mode: NodeMode = NodeMode.CORDONED): Promise<void> {
  const store = server.store('operator');
  const entry = await store.get(keys.node(node));
  if (entry === undefined) throw new Error(`no record of ${node}`);
  const record = nodeCodec.decode(entry.value, entry.index);
  await store.txn([{ op: 'set', key: keys.node(node), value: nodeCodec.encode({ ...record, mode }) }]);
  await clock.advance(2_000);
}

/** A host that boots when its power comes back, and joins some time later. */
function boots({ agent, bmcs, clock }: Pick<World, 'agent' | 'bmcs' | 'clock'>, node: string): string[] {
  const bmc = bmcs.get(node);
  if (bmc === undefined) throw new Error(`${node} has no BMC`);
  const switched: string[] = [];
  const powerOn = bmc.powerOn.bind(bmc);
  const powerOff = bmc.powerOff.bind(bmc);
  bmc.powerOff = (call) => {
    switched.push('off');
    return powerOff(call);
  };
  bmc.powerOn = async (call) => {
    const wasOff = bmc.power === 'off';
    switched.push('on');
    await powerOn(call);
    if (wasOff) clock.after(40_000, () => void agent(node).join());
  };
  return switched;
}

/** Advances until the call has settled. */
async function settled<T>({ clock }: Pick<World, 'clock'>, call: Promise<T>): Promise<T> {
  const state = { done: false };
  const end = call.finally(() => {
    state.done = true;
  });
  end.catch(() => undefined);
  for (let second = 0; second < 3_000 && !state.done; second += 1) await clock.advance(1_000);
  return await end;
}

describe('a test of the ladder', () => {
  it('asks from the leader and from its peers; a wrong password that only one of them has fails it before a host dies', async () => {
    const world = await cluster(NODES);
    const { fencer, agent, close, crash, until } = world;
    reachable(world);
    const good = await settled(world, test(fencer, 'h1'));
    expect(good).toMatchObject({ fenceability: Fenceability.FENCEABLE, detail: 'every rung works' });
    expect(good.attempts.map(({ rung, observer, proven }) => [rung, observer, proven])).toEqual([
      ['stop-vms', '', true],
      ['read-power', '', true],
      ['check-bmc', 'h2', true],
      ['check-bmc', 'h3', true],
    ]);
    agent('h3').bmcs.set('h1', { fenceability: Fenceability.NOT_FENCEABLE, detail: 'the BMC does not accept user and password' });
    const bad = await settled(world, test(fencer, 'h1'));
    expect(bad).toMatchObject({ fenceability: Fenceability.NOT_FENCEABLE });
    expect(bad.detail).toBe('check-bmc from h3: the BMC does not accept user and password');
    await crash('h1');
    expect((await until(fencer, FenceActionState.CONFIRMED)).node).toBe('h1');
    await close(fencer);
  });
});

describe('a power cycle', () => {
  it.each([NodeMode.CORDONED, NodeMode.MAINTENANCE])('of an empty node (mode %i) passes, is written down, and fences nobody', async (mode) => {
    const world = await cluster(NODES);
    const { fencer, actions, fencedBy, bmcs, recoveries, close } = world;
    reachable(world);
    await cordon(world, 'h1', mode);
    const switched = boots(world, 'h1');
    const passed = await settled(world, test(fencer, 'h1', true));
    expect(passed).toMatchObject({ fenceability: Fenceability.FENCEABLE, detail: 'every rung works, and it was powered off and on' });
    expect(switched).toEqual(['off', 'on']);
    expect(passed.attempts.slice(4).map(({ rung, proven }) => [rung, proven])).toEqual(
      ['read-power', 'power-off', 'silence', 'power-on', 'come-back'].map((rung) => [rung, true]),
    );
    await world.clock.advance(120_000);
    expect(bmcs.get('h1')?.power).toBe('on');
    expect([await actions(fencer), await fencedBy('h1'), recoveries]).toEqual([[], '', []]);
    expect((await evidence(fencer, 'h1')).lastDrill).toMatchObject({ state: FenceDrillState.PASSED, powerCycle: true, requestedBy: 'test' });
    await close(fencer);
  });

  it.each<[string, (world: Awaited<ReturnType<typeof cluster>>) => Promise<void>, string]>([
    ['takes VMs', () => Promise.resolve(), 'NODE_NOT_EMPTY'],
    [
      'runs VMs',
      async (world) => {
        world.agent('h1').say({ figures: { vmsRunning: 1 } });
        await cordon(world, 'h1');
      },
      'NODE_NOT_EMPTY',
    ],
    [
      'is to run a VM',
      async (world) => {
        const vm = Vm.fromPartial({ id: 'v1', desired: VmDesired.RUNNING, placement: { node: 'h1', epoch: 1n } });
        await world.server.store('test').txn([{ op: 'set', key: keys.vm('v1'), value: vmCodec.encode(vm) }]);
        await cordon(world, 'h1');
      },
      'NODE_NOT_EMPTY',
    ],
    [
      'is in a disarmed cluster',
      async (world) => {
        await cordon(world, 'h1');
        await world.fencer.implementation.disarm({ mode: 1, reason: 'work' }, callContext());
      },
      'FENCER_DISARMED',
    ],
    [
      'does not live',
      async (world) => {
        await cordon(world, 'h1');
        await world.agent('h1').turn('down');
        await world.clock.advance(4_000);
      },
      'NODE_NOT_READY',
    ],
  ])('is refused of a node that %s, and nothing is switched', async (_, prepare, reason) => {
    const world = await cluster(NODES);
    reachable(world);
    const switched = boots(world, 'h1');
    await prepare(world);
    await expect(settled(world, test(world.fencer, 'h1', true))).rejects.toMatchObject({ reason });
    expect(switched).toEqual([]);
    await world.close(world.fencer);
  });

  it('finds a BMC that lies about off; it is believed by no leader any more, until a power cycle works', async () => {
    const world = await cluster(NODES);
    const { clock, fencer, replica, agent, bmcs, crash, until, close } = world;
    reachable(world);
    await cordon(world, 'h1');
    const bmc = bmcs.get('h1');
    if (bmc === undefined) throw new Error('h1 has no BMC');
    const powerOff = bmc.powerOff.bind(bmc);
    bmc.powerOff = () => {
      bmc.power = 'off';
      return Promise.resolve();
    };
    const lied = await settled(world, test(fencer, 'h1', true));
    expect(lied.fenceability).toBe(Fenceability.NOT_FENCEABLE);
    expect(lied.detail).toContain('it reads off, and its agent speaks on');
    await close(fencer);
    const second = replica('f2');
    await clock.advance(20_000);
    const told = await evidence(second, 'h1');
    expect(told.fenceability).toBe(Fenceability.NOT_FENCEABLE);
    expect(told.fenceabilityDetail).toContain('speaks on');
    await crash('h1');
    expect((await until(second, FenceActionState.UNCERTAIN)).detail).toContain('is not believed');

    await agent('h1').join();
    await clock.advance(30_000);
    bmc.power = 'on';
    bmc.powerOff = powerOff;
    boots(world, 'h1');
    expect((await settled(world, test(second, 'h1', true))).fenceability).toBe(Fenceability.FENCEABLE);
    expect((await evidence(second, 'h1')).fenceability).toBe(Fenceability.FENCEABLE);
    await close(second);
  });

  it.each(POINTS.filter((point) => point.startsWith('drill/')))(
    'that its leader does not end, as it dies at %s, is ended by the next one: the node does not stay off, and is not fenced',
    async (point) => {
      const world = await cluster(NODES, { settle: 0 });
      const { clock, fencer, replica, bmcs, actions, fencedBy, close } = world;
      await close(fencer);
      reachable(world);
      const stopped = { at: '' };
      const first = replica('f1', {}, async (name) => {
        if (name !== point) return;
        stopped.at = name;
        await new Promise(() => undefined);
      });
      await clock.advance(90_000);
      await cordon(world, 'h1');
      boots(world, 'h1');
      test(first, 'h1', true).catch(() => undefined);
      while (stopped.at === '' && clock.nowMs() < 900_000) await clock.advance(1_000);
      expect(stopped.at).toBe(point);
      const closing = first.close();
      await clock.advance(30_000);
      await closing;
      const second = replica('f2');
      await clock.advance(120_000);
      expect(bmcs.get('h1')?.power).toBe('on');
      const drill = (await evidence(second, 'h1')).lastDrill;
      expect(drill).toMatchObject({ state: FenceDrillState.INTERRUPTED, powerCycle: true });
      expect(drill?.detail).toContain("leader ended in the middle of it; nothing is left of it");
      await clock.advance(120_000);
      expect([await actions(second), await fencedBy('h1')]).toEqual([[], '']);
      await close(second);
    },
  );
});

describe('the schedule', () => {
  it('tests every node without harm once in the interval, tells what changed, and a new leader goes on with it', async () => {
    const world = await cluster(NODES, { settle: 0 });
    const { clock, server, replica, agent, close } = world;
    await close(world.fencer);
    const config = { fencing: { drillEveryMs: HOUR_MS } };
    const fencer = replica('f1', config);
    reachable(world);
    await clock.advance(4 * 60_000);
    const first = await Promise.all(NODES.map((node) => evidence(fencer, node)));
    expect(first.map(({ lastDrill }) => [lastDrill?.state, lastDrill?.requestedBy])).toEqual(NODES.map(() => [FenceDrillState.PASSED, 'fencer']));
    const ends = first.map(({ lastDrill }) => lastDrill?.endTime?.getTime() ?? 0);
    expect(new Set(ends).size).toBe(NODES.length);
    const told = async (): Promise<number> => {
      const { entries } = await server.store('test').list(keys.events);
      return entries.filter(({ value }) => value.includes('FENCE_TEST_')).length;
    };
    expect(await told()).toBe(0);
    await close(fencer);
    const second = replica('f2', config);
    await clock.advance(HOUR_MS / 2);
    expect((await evidence(second, 'h2')).lastDrill?.endTime?.getTime()).toBe(ends[1]);
    agent('h3').bmcs.set('h2', { fenceability: Fenceability.NOT_FENCEABLE, detail: 'wrong password' });
    await clock.advance(HOUR_MS / 2);
    expect((await evidence(second, 'h2')).lastDrill).toMatchObject({ state: FenceDrillState.FAILED, detail: 'check-bmc from h3: wrong password' });
    expect(await told()).toBe(1);
    agent('h3').bmcs.set('h2', WELL);
    await clock.advance(HOUR_MS);
    expect((await evidence(second, 'h2')).lastDrill?.state).toBe(FenceDrillState.PASSED);
    expect(await told()).toBe(2);
    await close(second);
  });
});
