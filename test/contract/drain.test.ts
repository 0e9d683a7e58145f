// SPDX-License-Identifier: Apache-2.0
import { connect, DrainState, MigrationMode, MigrationState, NodeMode, VmState, type Drain, type Lockstep, type Vm } from '@lockstep/sdk';
import { ShutdownPolicy, type VmSpec } from '@lockstep/sdk/v1';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startDevCluster, type DevCluster } from '../../services/dev/cluster.js';
import { createMemoryLogger } from '../../services/platform/log/memory.js';
import { copies, domainXml, proveOff, runsOn, untilReady } from './dead-host.js';

// Emptying a node and getting its VMs back, over real gRPC.

// Shorter than a test may take, so that it is said what was waited for.
const WAIT = { timeout: 40_000 };
const GIB = 2n ** 30n;
let cluster: DevCluster;
let lockstep: Lockstep;

beforeEach(async () => {
  cluster = await startDevCluster({ nodes: 3, log: createMemoryLogger(), bytesPerSecond: 200_000_000, memoryBytes: 4n * GIB });
  lockstep = connect({ servers: [cluster.scheduler] });
  await untilReady(lockstep, 3);
});

afterEach(async () => {
  lockstep.close();
  await cluster.close();
});

interface Wanted extends Partial<VmSpec> {
  memoryMib?: number;
  behaviour?: string;
  start?: boolean;
}

async function vmOn(node: string, name: string, { memoryMib, behaviour, start = true, ...spec }: Wanted = {}): Promise<Vm> {
  const xml = domainXml(name, { ...(memoryMib === undefined ? {} : { memoryMib }), ...(behaviour === undefined ? {} : { behaviour }) });
  const { vm } = await lockstep.scheduler.defineVm({ spec: { ...spec, domainXml: xml }, node, start });
  if (vm === undefined) throw new Error('no VM in the answer');
  return await lockstep.waitForVm(vm.id, [start ? VmState.RUNNING : VmState.STOPPED]);
}

async function recordOf(vm: string): Promise<Vm> {
  const { vm: record } = await lockstep.scheduler.getVm({ vm });
  if (record === undefined) throw new Error('no VM in the answer');
  return record;
}

async function drain(node: string): Promise<Drain> {
  const { drain: created } = await lockstep.scheduler.createDrain({ requestId: `drain-${node}`, node });
  if (created === undefined) throw new Error('no drain in the answer');
  return created;
}

async function drainNow(id: string): Promise<Drain> {
  const { drain: found } = await lockstep.scheduler.getDrain({ id });
  if (found === undefined) throw new Error('no drain in the answer');
  return found;
}

const drainState = async (id: string): Promise<DrainState> => (await drainNow(id)).state;
const bootOf = (node: string, vm: string): unknown => cluster.hosts.get(node)?.guest(vm)?.memory().boot;

describe('a drain', () => {
  it('moves all VMs at once and says DRAINED only when the hypervisor has none left; ready brings them home (ancestor 13)', async () => {
    const running = await Promise.all([1, 2, 3, 4].map((number) => vmOn('n1', `r${String(number)}`)));
    const stopped = await vmOn('n1', 's', { start: false });
    const boots = running.map(({ id }) => bootOf('n1', id));
    const { id } = await drain('n1');
    expect((await drain('n1')).id).toBe(id);
    await expect.poll(() => drainState(id), WAIT).toBe(DrainState.DRAINED);
    const ended = await drainNow(id);
    expect(ended.detail).toContain('confirms that no VM is left');
    expect(ended.migrationIds).toHaveLength(5);
    for (const [index, vm] of running.entries()) {
      const { placement, returnNode } = await recordOf(vm.id);
      expect(await copies(cluster, vm.id)).toEqual([placement?.node]);
      expect(placement?.node).not.toBe('n1');
      expect(returnNode).toBe('n1');
      expect(bootOf(placement?.node ?? '', vm.id)).toBe(boots[index]);
    }
    expect((await recordOf(stopped.id)).placement?.node).not.toBe('n1');
    const { node } = await lockstep.scheduler.getNode({ name: 'n1' });
    expect(node).toMatchObject({ mode: NodeMode.CORDONED, ready: false });

    await lockstep.scheduler.setMaintenance({ node: 'n1', enabled: false });
    for (const { id: vm } of [...running, stopped]) {
      await expect.poll(async () => (await recordOf(vm)).placement, WAIT).toMatchObject({ node: 'n1', migrationId: '' });
    }
    for (const [index, vm] of running.entries()) expect(bootOf('n1', vm.id)).toBe(boots[index]);
    await expect.poll(async () => (await recordOf(stopped.id)).returnNode, WAIT).toBe('');
    expect(runsOn(cluster, stopped.id)).toEqual([]);
  });

  it('names every VM that cannot leave with its reason, and goes on when it can', async () => {
    // Needs all its memory, and has touched little of it: moving it takes no time.
    const big = await vmOn('n1', 'big', { memoryMib: 2560, behaviour: 'resident="64MiB"' });
    const others = [await vmOn('n2', 'f2', { memoryMib: 2048 }), await vmOn('n3', 'f3', { memoryMib: 2048 })];
    const limited = await vmOn('n1', 'limited', { nodeLimit: ['n1'] });
    const plan = await lockstep.scheduler.createDrain({ node: 'n1', validateOnly: true });
    expect(plan.drain?.blockers.map(({ vmId }) => vmId).sort()).toEqual([big.id, limited.id].sort());
    expect(await lockstep.scheduler.listDrains({})).toMatchObject({ drains: [] });

    const { id } = await drain('n1');
    await expect.poll(() => drainState(id), WAIT).toBe(DrainState.BLOCKED);
    const { blockers } = await drainNow(id);
    expect(blockers.find(({ vmId }) => vmId === big.id)).toMatchObject({ reason: 'NO_TARGET' });
    expect(blockers.find(({ vmId }) => vmId === big.id)?.detail).toMatch(/n2: memory: needs 2\.5 GiB/);
    expect(blockers.find(({ vmId }) => vmId === limited.id)?.detail).toContain('may run on n1 only');
    expect(runsOn(cluster, big.id)).toEqual(['n1']);

    await lockstep.scheduler.updateVm({ vm: limited.id, spec: { domainXml: '', nodeLimit: [] } });
    await lockstep.scheduler.stopVm({ vm: others[0]?.id ?? '', force: true });
    await lockstep.waitForVm(others[0]?.id ?? '', [VmState.STOPPED]);
    await lockstep.scheduler.undefineVm({ vm: others[0]?.id ?? '' });
    await expect.poll(() => drainState(id), WAIT).toBe(DrainState.DRAINED);
    expect(runsOn(cluster, big.id)).toEqual(['n2']);
  });

  it('is cancelled at once, whatever its moves do, and the node stays cordoned until it is made ready', async () => {
    const slow = await vmOn('n1', 'slow', { memoryMib: 1024, behaviour: 'resident="1GiB" dirty-rate="400MiB"' });
    const { id } = await drain('n1');
    await expect.poll(async () => (await drainNow(id)).migrationIds.length, WAIT).toBe(1);
    const { drain: cancelled } = await lockstep.scheduler.cancelDrain({ id });
    expect(cancelled?.state).toBe(DrainState.CANCELLED);
    const [migration] = (await drainNow(id)).migrationIds;
    const ended = await lockstep.waitForMigration(migration ?? '');
    expect([MigrationState.ABORTED, MigrationState.SUCCEEDED]).toContain(ended.state);
    expect(runsOn(cluster, slow.id)).toHaveLength(1);
    expect((await lockstep.scheduler.getNode({ name: 'n1' })).node?.mode).toBe(NodeMode.CORDONED);
    await lockstep.scheduler.setMaintenance({ node: 'n1', enabled: false });
    await untilReady(lockstep, 3);
  });

  it('of a host that dies ends with its VMs recovered', async () => {
    const vm = await vmOn('n1', 'a', { nodeLimit: ['n1', 'n2'] });
    const filler = await vmOn('n2', 'filler', { memoryMib: 3072 });
    const blocked = await vmOn('n1', 'b', { nodeLimit: ['n1'] });
    const { id } = await drain('n1');
    await expect.poll(async () => (await recordOf(vm.id)).placement?.node, WAIT).toBe('n2');
    await cluster.power('n1', 'off');
    await proveOff(cluster, 'n1', 'fa-1');
    expect(filler.id).not.toBe('');
    await expect.poll(async () => (await recordOf(blocked.id)).status?.state, WAIT).toBe(VmState.WAITING_TARGET);
    await lockstep.scheduler.updateVm({ vm: blocked.id, spec: { domainXml: '', nodeLimit: [] } });
    await lockstep.waitForVm(blocked.id, [VmState.RUNNING]);
    await expect.poll(() => drainState(id), WAIT).toBe(DrainState.FAILED);
    expect(await drainNow(id)).toMatchObject({ reason: 'HOST_OFF' });
  });
});

describe('maintenance', () => {
  it('moves VMs away live, takes none, and brings home what it moved and nothing else', async () => {
    const vm = await vmOn('n1', 'a');
    const boot = bootOf('n1', vm.id);
    const wanderer = await vmOn('n1', 'b');
    await lockstep.scheduler.setMaintenance({ node: 'n1', enabled: true, reason: 'a new fan' });
    await expect.poll(async () => (await recordOf(vm.id)).placement, WAIT).not.toMatchObject({ node: 'n1' });
    await expect.poll(async () => (await recordOf(wanderer.id)).placement, WAIT).not.toMatchObject({ node: 'n1' });
    await expect.poll(async () => (await recordOf(vm.id)).placement?.migrationId, WAIT).toBe('');
    const refused = await lockstep.scheduler.createMigration({ vm: vm.id, targetNode: 'n1' }).catch((error: unknown) => error);
    expect(refused).toMatchObject({ reason: 'NODE_NOT_READY' });
    // Its owner sends one of them on: that is where it belongs now.
    await expect.poll(async () => (await recordOf(wanderer.id)).placement?.migrationId, WAIT).toBe('');
    const from = (await recordOf(wanderer.id)).placement?.node;
    const to = from === 'n2' ? 'n3' : 'n2';
    const { migration } = await lockstep.scheduler.createMigration({ vm: wanderer.id, targetNode: to, mode: MigrationMode.LIVE_ONLY });
    await lockstep.waitForMigration(migration?.id ?? '');

    await lockstep.scheduler.setMaintenance({ node: 'n1', enabled: false });
    await expect.poll(() => runsOn(cluster, vm.id), WAIT).toEqual(['n1']);
    expect(bootOf('n1', vm.id)).toBe(boot);
    expect(runsOn(cluster, wanderer.id)).toEqual([to]);
  });

  it('survives the next joining of its agent', async () => {
    await lockstep.scheduler.setMaintenance({ node: 'n1', enabled: true });
    await cluster.power('n1', 'off');
    await cluster.power('n1', 'on');
    await expect.poll(async () => (await lockstep.scheduler.getNode({ name: 'n1' })).node, WAIT).toMatchObject({
      mode: NodeMode.MAINTENANCE,
      incarnation: 2n,
    });
  });
});

describe('a host that goes down in order', () => {
  it('for a reboot has its VMs stopped in order, left alone, and started there again', async () => {
    const vm = await vmOn('n1', 'a');
    await cluster.goDown('n1', 'reboot');
    expect(runsOn(cluster, vm.id)).toEqual([]);
    expect((await lockstep.scheduler.getNode({ name: 'n1' })).node?.leaving?.left).toBe(true);
    await expect.poll(async () => (await recordOf(vm.id)).status?.state, WAIT).toBe(VmState.FROZEN);
    expect((await recordOf(vm.id)).placement).toMatchObject({ node: 'n1', epoch: vm.placement?.epoch });
    await cluster.power('n1', 'on');
    await lockstep.waitForVm(vm.id, [VmState.RUNNING]);
    expect(runsOn(cluster, vm.id)).toEqual(['n1']);
    expect((await lockstep.scheduler.getNode({ name: 'n1' })).node?.leaving).toBeUndefined();
  });

  it('for good has its VMs started elsewhere, and gets them back when it is on again', async () => {
    const vm = await vmOn('n1', 'a');
    await cluster.goDown('n1', 'shutdown');
    const elsewhere = await recordOf(vm.id);
    expect(elsewhere.placement?.node).not.toBe('n1');
    await lockstep.waitForVm(vm.id, [VmState.RUNNING]);
    const boot = bootOf(elsewhere.placement?.node ?? '', vm.id);
    await cluster.power('n1', 'on');
    await expect.poll(() => runsOn(cluster, vm.id), WAIT).toEqual(['n1']);
    expect(bootOf('n1', vm.id)).toBe(boot);
  });

  it('moves them live where the policy says so', async () => {
    const { cluster: before } = await lockstep.scheduler.getCluster({});
    await lockstep.scheduler.updateOptions({ options: { ...before?.options, shutdownPolicy: ShutdownPolicy.MIGRATE } });
    const vm = await vmOn('n1', 'a');
    const boot = bootOf('n1', vm.id);
    await cluster.goDown('n1', 'reboot');
    const [node] = runsOn(cluster, vm.id);
    expect(node).not.toBe('n1');
    expect(bootOf(node ?? '', vm.id)).toBe(boot);
  });
});
