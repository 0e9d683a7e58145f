// SPDX-License-Identifier: Apache-2.0
import { ApiError, connect, MigrationMode, MigrationState, VmDesired, VmState, type Lockstep, type Vm } from '@lockstep/sdk';
import { VmRecovery, type VmSpec } from '@lockstep/sdk/v1';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startDevCluster, type DevCluster } from '../../services/dev/cluster.js';
import { DEFAULT_TIMING } from '../../services/node-agent/config.js';
import { overriding } from '../../services/node-agent/test-bed.js';
import { HypervisorError, type Hypervisor } from '../../services/platform/hypervisor/hypervisor.js';
import { createMemoryLogger } from '../../services/platform/log/memory.js';
import { copies, domainXml, proveOff, runsOn, untilReady } from './dead-host.js';

// What becomes of the VMs of a host that is proven dead, over real gRPC. The proof is written by the test.

const GIB = 2n ** 30n;
const WAIT = { timeout: 40_000 };
let cluster: DevCluster;
let lockstep: Lockstep;

/** Nodes that start nothing. */
const broken = new Set<string>();
/** Every start that a hypervisor was asked for. */
const starts: { node: string; uuid: string; atMs: number }[] = [];

function moody(node: string, hypervisor: Hypervisor): Hypervisor {
  return overriding(hypervisor, {
    start: async (uuid, call) => {
      starts.push({ node, uuid, atMs: performance.now() });
      if (broken.has(node)) throw new HypervisorError('refused', 'the storage is not there');
      await hypervisor.start(uuid, call);
    },
  });
}

async function start(options: { nodes?: number; memoryBytes?: bigint } = {}): Promise<void> {
  const { nodes = 3, ...rest } = options;
  // The test proves hosts off, so the Fencer is not to be quicker on a busy machine.
  const fencing = { timings: { judgement: { throwMs: 600_000 } } };
  cluster = await startDevCluster({ nodes, log: createMemoryLogger(), bytesPerSecond: 20_000_000, hypervisorOf: moody, fencing, ...rest });
  lockstep = connect({ servers: [cluster.scheduler] });
  await untilReady(lockstep, nodes);
}

afterEach(async () => {
  broken.clear();
  starts.length = 0;
  lockstep.close();
  await cluster.close();
});

interface Wanted extends Partial<VmSpec> {
  memoryMib?: number;
  behaviour?: string;
  start?: boolean;
}

async function vmOn(node: string, name: string, { memoryMib = 64, behaviour = '', start: run = true, ...spec }: Wanted = {}): Promise<Vm> {
  const given = { ...spec, domainXml: domainXml(name, { memoryMib, behaviour }) };
  const { vm } = await lockstep.scheduler.defineVm({ spec: given, node, start: run });
  if (vm === undefined) throw new Error('no VM in the answer');
  return await lockstep.waitForVm(vm.id, [run ? VmState.RUNNING : VmState.STOPPED]);
}

async function recordOf(vm: string): Promise<Vm> {
  const { vm: record } = await lockstep.scheduler.getVm({ vm });
  if (record === undefined) throw new Error('no VM in the answer');
  return record;
}

const stateOf = async (vm: string): Promise<VmState | undefined> => (await recordOf(vm)).status?.state;

async function isReady(name: string): Promise<boolean | undefined> {
  const { nodes } = await lockstep.scheduler.listNodes({});
  return nodes.find((node) => node.name === name)?.ready;
}

/** What is told of a VM, oldest first: why, by whom, and in words. */
async function toldOf(vm: string): Promise<{ reason: string; actor: string; message: string }[]> {
  const { events } = await lockstep.scheduler.listEvents({ subject: `vms/${vm}` });
  return events.reverse().map(({ reason, actor, message }) => ({ reason, actor, message }));
}

describe('a host that dies', () => {
  beforeEach(() => start());

  it('has its VMs started elsewhere once it is proven off, and not a moment before (ancestor 18)', async () => {
    const vm = await vmOn('n1', 'a');
    const stopped = await vmOn('n1', 'b', { start: false });
    await cluster.power('n1', 'off');
    await expect.poll(() => stateOf(vm.id), WAIT).toBe(VmState.WAITING_FENCE);
    const refused = await lockstep.scheduler.recoverNode({ node: 'n1', fenceActionId: 'fa-1' }).catch((error: unknown) => error);
    expect(refused).toBeInstanceOf(ApiError);
    expect(refused).toMatchObject({ reason: 'NOT_FENCED' });
    expect(runsOn(cluster, vm.id)).toEqual([]);
    expect((await recordOf(vm.id)).placement?.node).toBe('n1');

    await proveOff(cluster, 'n1', 'fa-1');
    expect(await lockstep.scheduler.recoverNode({ node: 'n1', fenceActionId: 'fa-1' })).toMatchObject({ vms: expect.any(Number) as number });
    const again = await lockstep.waitForVm(vm.id, [VmState.RUNNING]);
    expect(again.placement?.node).not.toBe('n1');
    expect(again.placement?.epoch).toBeGreaterThan(vm.placement?.epoch ?? 0n);
    expect(again.homeNode).toBe('n1');
    expect(runsOn(cluster, vm.id)).toEqual([again.placement?.node]);
    await expect.poll(async () => (await recordOf(stopped.id)).placement?.node, WAIT).not.toBe('n1');
    expect((await recordOf(stopped.id)).desired).toBe(VmDesired.STOPPED);
    expect(runsOn(cluster, stopped.id)).toEqual([]);
    expect(await toldOf(vm.id)).toEqual([
      { reason: 'VM_RECOVERED', actor: 'scheduler', message: `a is started on ${String(again.placement?.node)}: n1 is proven off by fa-1` },
    ]);
    expect((await toldOf(stopped.id))[0]?.message).toMatch(/^b belongs to n[23] now and stays off: n1 is proven off by fa-1$/);
  });

  it('only for its agent is no host that dies: its VMs run on, and are not said to wait for a proof', async () => {
    const vm = await vmOn('n1', 'a');
    await cluster.endAgent('n1');
    await expect.poll(async () => (await recordOf(vm.id)).status?.state, WAIT).not.toBe(VmState.RUNNING);
    await expect.poll(async () => (await recordOf(vm.id)).status?.detail, WAIT).toContain('its host lives');
    expect((await recordOf(vm.id)).status).toMatchObject({ state: VmState.UNKNOWN, reason: 'NODE_UNREACHABLE' });
    expect(runsOn(cluster, vm.id)).toEqual(['n1']);
  });

  it('and comes back finds that its VMs are elsewhere and removes its stale definitions', async () => {
    const vm = await vmOn('n1', 'a');
    await cluster.power('n1', 'off');
    await proveOff(cluster, 'n1', 'fa-1');
    const again = await lockstep.waitForVm(vm.id, [VmState.RUNNING]);
    await cluster.power('n1', 'on');
    await untilReady(lockstep, 3);
    await expect.poll(() => copies(cluster, vm.id), WAIT).toEqual([again.placement?.node]);
    expect(runsOn(cluster, vm.id)).toEqual([again.placement?.node]);
  });

  it('in the middle of a move to it loses nothing: the recovery reads placements and migrations (ancestor 21)', async () => {
    const vm = await vmOn('n1', 'a', { memoryMib: 256, behaviour: 'dirty-rate="40MiB" resident="256MiB"' });
    const { migration } = await lockstep.scheduler.createMigration({ vm: vm.id, targetNode: 'n2', mode: MigrationMode.LIVE_ONLY });
    const id = migration?.id ?? '';
    await expect.poll(async () => (await lockstep.scheduler.getMigration({ id })).migration?.state, WAIT).toBe(MigrationState.TRANSFERRING);
    // Both ends of the move die: one that its placement names, one that only the migration names.
    await Promise.all([cluster.power('n1', 'off'), cluster.power('n2', 'off')]);
    await proveOff(cluster, 'n2', 'fa-2');
    expect(runsOn(cluster, vm.id)).toEqual([]);
    await proveOff(cluster, 'n1', 'fa-1');
    expect((await lockstep.waitForMigration(id)).state).toBe(MigrationState.FAILED);
    const again = await lockstep.waitForVm(vm.id, [VmState.RUNNING]);
    expect(again.placement?.node).toBe('n3');
    expect(runsOn(cluster, vm.id)).toEqual(['n3']);
  });

  it('as the target of a move has the guest run on at its source', async () => {
    const vm = await vmOn('n1', 'a', { memoryMib: 256, behaviour: 'dirty-rate="40MiB" resident="256MiB"' });
    const boot = cluster.hosts.get('n1')?.guest(vm.id)?.memory().boot;
    const { migration } = await lockstep.scheduler.createMigration({ vm: vm.id, targetNode: 'n2', mode: MigrationMode.LIVE_ONLY });
    const id = migration?.id ?? '';
    await expect.poll(async () => (await lockstep.scheduler.getMigration({ id })).migration?.state, WAIT).toBe(MigrationState.TRANSFERRING);
    await cluster.power('n2', 'off');
    await proveOff(cluster, 'n2', 'fa-2');
    expect((await lockstep.waitForMigration(id)).state).toBe(MigrationState.ABORTED);
    expect(runsOn(cluster, vm.id)).toEqual(['n1']);
    expect(cluster.hosts.get('n1')?.guest(vm.id)?.memory().boot).toBe(boot);
  });

  it('in the middle of a move by shutdown from it has the VM started on the target', async () => {
    const vm = await vmOn('n1', 'a', { behaviour: 'shutdown="ignored"', shutdownLimit: { seconds: 120n, nanos: 0 } });
    const { migration } = await lockstep.scheduler.createMigration({ vm: vm.id, targetNode: 'n2', mode: MigrationMode.SHUTDOWN });
    const id = migration?.id ?? '';
    await expect.poll(async () => (await lockstep.scheduler.getMigration({ id })).migration?.state, WAIT).toBe(MigrationState.SHUTTING_DOWN);
    await cluster.power('n1', 'off');
    await proveOff(cluster, 'n1', 'fa-1');
    expect((await lockstep.waitForMigration(id)).state).toBe(MigrationState.SUCCEEDED);
    expect(runsOn(cluster, vm.id)).toEqual(['n2']);
  });

  it('leaves off what is to stay off, as one that anybody may start, and leaves alone what is disabled', async () => {
    const vm = await vmOn('n1', 'a', { recovery: VmRecovery.STAY_OFF });
    await cluster.power('n1', 'off');
    await proveOff(cluster, 'n1', 'fa-1');
    await expect.poll(async () => (await recordOf(vm.id)).placement?.node, WAIT).not.toBe('n1');
    const off = await recordOf(vm.id);
    expect(off.desired).toBe(VmDesired.STOPPED);
    expect(off.trouble?.detail).toContain('stays off');
    await lockstep.scheduler.startVm({ vm: vm.id });
    await lockstep.waitForVm(vm.id, [VmState.RUNNING]);
  });
});

describe('recovery with too little room', () => {
  beforeEach(() => start({ nodes: 3, memoryBytes: 4n * GIB }));

  it('takes the important VMs, names the figures of every node to the rest, and starts them when room appears (ancestor 19)', async () => {
    const filler = await vmOn('n2', 'filler', { memoryMib: 2560 });
    const low = await vmOn('n1', 'a-low', { memoryMib: 1536, priority: 1 });
    const high = await vmOn('n1', 'z-high', { memoryMib: 1536, priority: 9 });
    await cluster.power('n3', 'off');
    // Until then it is a target like any other.
    await expect.poll(() => isReady('n3'), WAIT).toBe(false);
    await cluster.power('n1', 'off');
    await proveOff(cluster, 'n1', 'fa-1');
    await expect.poll(() => stateOf(low.id), WAIT).toBe(VmState.WAITING_TARGET);
    const waiting = await recordOf(low.id);
    expect(waiting.status?.detail).toMatch(/n2: .*needs 1\.5 GiB/);
    expect(waiting.status?.detail).toMatch(/n1: .*fenced by fa-1/);
    expect(waiting.status?.detail).toContain('n3: ');
    expect(await stateOf(high.id)).toBe(VmState.WAITING_TARGET);

    await lockstep.scheduler.stopVm({ vm: filler.id });
    await lockstep.waitForVm(filler.id, [VmState.STOPPED]);
    await lockstep.scheduler.undefineVm({ vm: filler.id });
    await lockstep.waitForVm(high.id, [VmState.RUNNING]);
    await cluster.power('n3', 'on');
    await lockstep.waitForVm(low.id, [VmState.RUNNING]);
    expect(runsOn(cluster, high.id)).toEqual(['n2']);
    const told = await toldOf(low.id);
    expect(told.map(({ reason }) => reason)).toEqual(['NO_TARGET', 'VM_RECOVERED']);
    expect(told[0]?.message).toMatch(/^no node can take a-low: .*n2: .*needs 1\.5 GiB/);
  });

  it('starts a VM after those it names', async () => {
    const database = await vmOn('n1', 'z-db', { behaviour: 'start-ms="1500"' });
    const app = await vmOn('n1', 'a-app', { priority: 5, startAfter: ['z-db'] });
    await cluster.power('n1', 'off');
    await proveOff(cluster, 'n1', 'fa-1');
    await expect
      .poll(() => {
        const [first] = [runsOn(cluster, database.id), runsOn(cluster, app.id)];
        if (first.length === 0) expect(runsOn(cluster, app.id)).toEqual([]);
        return runsOn(cluster, app.id).length;
      }, WAIT)
      .toBe(1);
    expect(runsOn(cluster, database.id)).toHaveLength(1);
  });
});

describe('a VM that a node cannot keep running', () => {
  beforeEach(() => start());

  const define = async (spec: Partial<VmSpec>): Promise<Vm> => {
    const given = { ...spec, domainXml: domainXml('a') };
    const { vm } = await lockstep.scheduler.defineVm({ spec: given, node: 'n1', start: true });
    if (vm === undefined) throw new Error('no VM in the answer');
    return vm;
  };

  it('is tried again there, then given to another node, and forgets it once it is started anew', async () => {
    broken.add('n1');
    const vm = await define({ maxRestart: 0 });
    const runs = await lockstep.waitForVm(vm.id, [VmState.RUNNING]);
    expect(runs.placement?.node).not.toBe('n1');
    expect(runs.trouble).toMatchObject({ relocations: 1, givenUp: false, reason: 'RESTARTS_EXHAUSTED', nodes: ['n1'] });
    expect(runs.trouble?.detail).toContain('the storage is not there');
    await expect.poll(() => copies(cluster, vm.id), WAIT).toEqual([runs.placement?.node]);
    await lockstep.scheduler.startVm({ vm: vm.id });
    expect((await recordOf(vm.id)).trouble).toBeUndefined();
  });

  it('is in ERROR with its reason after its limits, until it is started', async () => {
    for (const node of ['n1', 'n2', 'n3']) broken.add(node);
    const vm = await define({ maxRestart: 0, maxRelocate: 1 });
    await expect.poll(async () => (await recordOf(vm.id)).trouble?.givenUp, WAIT).toBe(true);
    const error = await recordOf(vm.id);
    expect(error.status).toMatchObject({ state: VmState.ERROR, reason: 'RELOCATIONS_EXHAUSTED' });
    expect(error.status?.detail).toContain('the storage is not there');
    expect(error.trouble).toMatchObject({ relocations: 1, givenUp: true });
    expect(error.trouble?.nodes).toHaveLength(2);
    const told = await toldOf(vm.id);
    expect(told.map(({ reason }) => reason)).toEqual(['VM_RELOCATED', 'RELOCATIONS_EXHAUSTED']);
    expect(told[0]?.message).toMatch(/^a goes from n1 to n[23]: .*the storage is not there/);
    expect(told[1]?.message).toContain('a is given up');
    broken.clear();
    await lockstep.scheduler.startVm({ vm: vm.id });
    const runs = await lockstep.waitForVm(vm.id, [VmState.RUNNING]);
    expect(runs.trouble).toBeUndefined();
  });

  it('because its guest crashes again and again backs off, is given to another node, and ends in ERROR with its reason', async () => {
    const vm = await define({ maxRestart: 1, maxRelocate: 1 });
    const crashing = setInterval(() => {
      for (const node of runsOn(cluster, vm.id)) cluster.hosts.get(node)?.crashGuest(vm.id);
    }, 50);
    try {
      const backingOff = { state: VmState.CRASHED, reason: 'GUEST_LOST', node: 'n1' };
      await expect.poll(async () => (await recordOf(vm.id)).status, WAIT).toMatchObject(backingOff);
      await expect.poll(async () => (await recordOf(vm.id)).trouble?.givenUp, WAIT).toBe(true);
    } finally {
      clearInterval(crashing);
    }
    const error = await recordOf(vm.id);
    expect(error.status).toMatchObject({ state: VmState.ERROR, reason: 'RELOCATIONS_EXHAUSTED' });
    expect(error.status?.detail).toContain('ended by itself');
    expect(error.trouble).toMatchObject({ relocations: 1, givenUp: true });
    const tries = starts.filter(({ uuid }) => uuid === vm.id);
    const nodes = [...new Set(tries.map(({ node }) => node))];
    expect(nodes).toHaveLength(2);
    expect(nodes[0]).toBe('n1');
    for (const node of nodes) {
      // Once, and once more as max_restart allows, with the back-off in between.
      const [first, second, ...more] = tries.filter((one) => one.node === node).map(({ atMs }) => atMs);
      expect(more).toEqual([]);
      expect((second ?? 0) - (first ?? 0)).toBeGreaterThanOrEqual(DEFAULT_TIMING.restartBackoffMs);
    }
    expect(runsOn(cluster, vm.id)).toEqual([]);
  });

  it('waits for a target while no other node has room for it', async () => {
    broken.add('n1');
    await cluster.power('n2', 'off');
    await cluster.power('n3', 'off');
    const vm = await define({ maxRestart: 0 });
    await expect.poll(() => stateOf(vm.id), WAIT).toBe(VmState.WAITING_TARGET);
    expect((await recordOf(vm.id)).status?.detail).toContain('the VM failed on this node');
    await cluster.power('n2', 'on');
    await expect.poll(() => runsOn(cluster, vm.id), WAIT).toEqual(['n2']);
  });
});
