// SPDX-License-Identifier: Apache-2.0
import { ApiError, MigrationMode, MigrationState, VmDesired, VmState, type Lockstep } from '@lockstep/sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DevCluster } from '../../services/dev/cluster.js';
import { readPlacementEpoch } from '../../services/core/domain-xml/epoch.js';
import { parseDocument } from '../../services/core/domain-xml/document.js';
import { keys } from '../../services/core/records/keys.js';
import type { Hypervisor } from '../../services/platform/hypervisor/hypervisor.js';
import { startEmbeddedMesh, type EmbeddedMesh } from './embedded-mesh.js';

// Domains that somebody made behind the cluster's back, and how they come under its care.

const LIMIT = { deadlineMs: 10_000 };

let mesh: EmbeddedMesh;
let cluster: DevCluster;
let lockstep: Lockstep;
let count = 0;
const opened: Hypervisor[] = [];

beforeAll(async () => {
  mesh = await startEmbeddedMesh({ nodes: 3 });
  ({ cluster, lockstep } = mesh);
});

afterAll(async () => {
  await Promise.all(opened.map((hypervisor) => hypervisor.close()));
  await mesh.close();
});

/** A person's own way to the hypervisor of a node. */
function byHand(node: string): Hypervisor {
  const hypervisor = cluster.hosts.get(node)?.hypervisor();
  if (hypervisor === undefined) throw new Error(`there is no host ${node}`);
  opened.push(hypervisor);
  return hypervisor;
}

interface Made {
  name?: string;
  uuid?: string;
  start?: boolean;
  devices?: string;
}

/** Defines a domain by hand, and returns once the Scheduler knows of it. */
async function domain(node: string, { name = `stray-${(count += 1)}`, uuid, start = false, devices = '' }: Made = {}) {
  const id = uuid ?? `5b1f3c1e-0000-4000-8000-${String((count += 1)).padStart(12, '0')}`;
  const xml = `<domain type='kvm'><name>${name}</name><uuid>${id}</uuid><memory unit='MiB'>64</memory><vcpu>2</vcpu><devices>${devices}</devices></domain>`;
  await byHand(node).define(xml, LIMIT);
  if (start) await byHand(node).start(id, LIMIT);
  await expect.poll(async () => (await reported(node, id))?.running, { timeout: 20_000 }).toBe(start);
  return { id, name };
}

async function reported(node: string, id: string) {
  const { vms } = await lockstep.scheduler.getNode({ name: node });
  return vms.find(({ vmId }) => vmId === id);
}

async function refusal(call: Promise<unknown>): Promise<ApiError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ApiError);
  return error as ApiError;
}

async function epochs(node: string, id: string): Promise<(bigint | undefined)[]> {
  const xmls = [await byHand(node).xml(id, 'live', LIMIT), await byHand(node).xml(id, 'inactive', LIMIT)];
  return xmls.map((xml) => readPlacementEpoch(parseDocument(xml).root));
}

describe('a domain that nobody manages', () => {
  it('is shown and left alone', async () => {
    const { id } = await domain('n1', { start: true });
    expect(await reported('n1', id)).toMatchObject({ placementEpoch: 0n, status: { state: VmState.UNMANAGED } });
    expect((await lockstep.scheduler.listVms({})).vms.filter((vm) => vm.id === id)).toEqual([]);
    expect(mesh.runsOn(id)).toEqual(['n1']);
  });

  it('that runs is adopted without being touched, and moves live from then on', async () => {
    const { id, name } = await domain('n1', { start: true });
    cluster.hosts.get('n1')?.setAutostart(id);
    const copy = cluster.hosts.get('n1')?.guest(id);
    const countBefore = copy?.counter() ?? 0;
    const { vm, liveObstacles } = await lockstep.scheduler.adoptVm({ vmId: name, node: 'n1' });
    expect(vm).toMatchObject({ id, name, desired: VmDesired.RUNNING, homeNode: 'n1', spec: { memoryBytes: 64n << 20n, vcpus: 2 } });
    expect(liveObstacles).toEqual([]);
    const epoch = vm?.placement?.epoch;
    expect(epoch).toBe(1n);
    expect(await epochs('n1', id)).toEqual([epoch, epoch]);
    // No host starts it by itself any more: after a recovery elsewhere that would be a second copy (INV-1).
    expect(cluster.hosts.get('n1')?.autostarts(id)).toBe(false);
    await lockstep.waitForVm(id, [VmState.RUNNING]);
    expect(cluster.hosts.get('n1')?.guest(id)).toBe(copy);
    expect(copy?.counter()).toBeGreaterThanOrEqual(countBefore);
    const told = await lockstep.scheduler.listEvents({ subject: `vms/${id}` });
    expect(told.events.map(({ reason }) => reason)).toEqual(['VM_ADOPTED']);

    const { migration } = await lockstep.scheduler.createMigration({ vm: id, targetNode: 'n2', mode: MigrationMode.LIVE_ONLY });
    expect((await lockstep.waitForMigration(migration?.id ?? '')).state).toBe(MigrationState.SUCCEEDED);
    expect(mesh.runsOn(id)).toEqual(['n2']);
    expect(cluster.hosts.get('n2')?.guest(id)?.counter()).toBeGreaterThanOrEqual(copy?.counter() ?? 0);
  });

  it('that is off stays off, counts on its node, and starts by an order', async () => {
    const { id, name } = await domain('n2');
    const { vm } = await lockstep.scheduler.adoptVm({ vmId: id, node: 'n2' });
    expect(vm).toMatchObject({ name, desired: VmDesired.STOPPED, placement: { node: 'n2', epoch: 1n } });
    await lockstep.waitForVm(id, [VmState.STOPPED]);
    expect(mesh.runsOn(id)).toEqual([]);
    await lockstep.scheduler.startVm({ vm: name });
    await lockstep.waitForVm(id, [VmState.RUNNING]);
    expect(mesh.runsOn(id)).toEqual(['n2']);
  });

  it('that its user paused shall run and stays paused', async () => {
    const { id } = await domain('n1', { start: true });
    cluster.hosts.get('n1')?.pauseGuest(id);
    const { vm } = await lockstep.scheduler.adoptVm({ vmId: id, node: 'n1' });
    expect(vm?.desired).toBe(VmDesired.RUNNING);
    const { status } = await lockstep.waitForVm(id, [VmState.PAUSED]);
    expect(status?.detail).toContain('by its user');
  });

  it('is adopted once, however often it is asked for', async () => {
    const { id } = await domain('n3', { start: true });
    const { vm: first } = await lockstep.scheduler.adoptVm({ vmId: id, node: 'n3' });
    const { vm: second } = await lockstep.scheduler.adoptVm({ vmId: id, node: 'n3' });
    expect(second?.placement).toEqual(first?.placement);
    expect(second?.etag).toBe(first?.etag);
  });

  it('is left to its owner until it carries its epoch, and taken over by asking again', async () => {
    const { id } = await domain('n2', { start: true });
    cluster.hosts.get('n2')?.setDiskFull(true);
    try {
      expect((await refusal(lockstep.scheduler.adoptVm({ vmId: id, node: 'n2' }))).reason).toBe('HYPERVISOR_FAILED');
      expect((await lockstep.scheduler.getVm({ vm: id })).vm).toMatchObject({ desired: VmDesired.UNMANAGED, placement: { node: 'n2' } });
      const elsewhere = lockstep.scheduler.createMigration({ vm: id, mode: MigrationMode.SHUTDOWN });
      expect((await refusal(elsewhere)).reason).toBe('DOMAIN_NOT_OURS');
    } finally {
      cluster.hosts.get('n2')?.setDiskFull(false);
    }
    const { vm } = await lockstep.scheduler.adoptVm({ vmId: id, node: 'n2' });
    expect(vm?.desired).toBe(VmDesired.RUNNING);
    expect(await epochs('n2', id)).toEqual([vm?.placement?.epoch, vm?.placement?.epoch]);
    expect(mesh.runsOn(id)).toEqual(['n2']);
  });

  it('whose epoch was lost by a person who defined it anew is adopted again under the epoch on record', async () => {
    const { id, name } = await domain('n3');
    const { vm } = await lockstep.scheduler.adoptVm({ vmId: id, node: 'n3' });
    await byHand('n3').define(`<domain type='kvm'><name>${name}</name><uuid>${id}</uuid><memory unit='MiB'>64</memory></domain>`, LIMIT);
    await expect.poll(async () => (await lockstep.scheduler.getVm({ vm: id })).vm?.status?.reason, { timeout: 20_000 }).toBe('DOMAIN_NOT_OURS');
    const move = lockstep.scheduler.createMigration({ vm: id, mode: MigrationMode.SHUTDOWN });
    expect((await refusal(move)).reason).toBe('DOMAIN_NOT_OURS');
    await lockstep.scheduler.adoptVm({ vmId: id, node: 'n3' });
    expect(await epochs('n3', id)).toEqual([vm?.placement?.epoch, vm?.placement?.epoch]);
    await expect.poll(async () => (await lockstep.scheduler.getVm({ vm: id })).vm?.status?.reason, { timeout: 20_000 }).toBe('');
  });

  it('whose record was lost with the store is adopted above the epoch it carries and the floor of its node', async () => {
    const { id, name } = await domain('n1', { start: true });
    await lockstep.scheduler.adoptVm({ vmId: id, node: 'n1' });
    await byHand('n1').stampEpoch(id, 41n, LIMIT);
    // Behind the leader's back: this is what is left after the store was set up anew.
    await cluster.store.txn([{ op: 'delete', key: keys.vm(id) }, { op: 'delete', key: keys.vmName(name) }]);
    await expect.poll(async () => (await lockstep.scheduler.listVms({})).vms.some((vm) => vm.id === id)).toBe(false);
    await expect.poll(async () => (await reported('n1', id))?.placementEpoch, { timeout: 20_000 }).toBe(41n);
    const { vm } = await lockstep.scheduler.adoptVm({ vmId: id, node: 'n1' });
    expect(vm?.placement?.epoch).toBe(42n);
    expect(await epochs('n1', id)).toEqual([42n, 42n]);
    expect(mesh.runsOn(id)).toEqual(['n1']);
  });

  it('has what a live move cannot take along named', async () => {
    const devices = "<hostdev mode='subsystem' type='pci'><source/></hostdev>";
    const { id } = await domain('n2', { start: true, devices });
    const { liveObstacles } = await lockstep.scheduler.adoptVm({ vmId: id, node: 'n2' });
    expect(liveObstacles).toEqual([expect.stringContaining('pci device')]);
  });
});

describe('an adoption that is refused or only tried changes nothing (INV-7)', () => {
  it('a dry run', async () => {
    const { id, name } = await domain('n1', { start: true });
    const { vm } = await lockstep.scheduler.adoptVm({ vmId: id, node: 'n1', validateOnly: true });
    expect(vm).toMatchObject({ id, name, desired: VmDesired.RUNNING, placement: { node: 'n1', epoch: 1n } });
    expect(await epochs('n1', id)).toEqual([undefined, undefined]);
    expect((await refusal(lockstep.scheduler.getVm({ vm: id }))).reason).toBe('VM_NOT_FOUND');
  });

  it('a domain or a node that is not there', async () => {
    const { id } = await domain('n1');
    expect(await refusal(lockstep.scheduler.adoptVm({ vmId: id, node: 'n2' }))).toMatchObject({
      reason: 'DOMAIN_NOT_FOUND',
      metadata: { field: 'vm_id', got: id, node: 'n2' },
    });
    expect(await refusal(lockstep.scheduler.adoptVm({ vmId: id, node: 'n9' }))).toMatchObject({
      reason: 'NODE_NOT_FOUND',
      metadata: { field: 'node', want: 'one of n1, n2, n3' },
    });
    expect(await refusal(lockstep.scheduler.adoptVm({ vmId: '', node: 'n1' }))).toMatchObject({
      reason: 'INVALID_FIELD',
      metadata: { field: 'vm_id' },
    });
  });

  it('a name that a VM of the cluster has, or a domain of another node', async () => {
    const { name: ours } = await managed('n1');
    const { id: first } = await domain('n2', { name: ours });
    expect(await refusal(lockstep.scheduler.adoptVm({ vmId: first, node: 'n2' }))).toMatchObject({
      reason: 'VM_NAME_TAKEN',
      metadata: { got: ours },
    });
    await domain('n1', { name: 'twin' });
    const { id: second } = await domain('n2', { name: 'twin' });
    const twin = await refusal(lockstep.scheduler.adoptVm({ vmId: second, node: 'n2' }));
    expect(twin).toMatchObject({ reason: 'VM_NAME_TAKEN', metadata: { got: 'twin' } });
    expect(twin.message).toContain('n1');
    expect(await epochs('n2', first)).toEqual([undefined, undefined]);
  });

  it('a UUID that a VM elsewhere has, or a domain of another node', async () => {
    const { id } = await managed('n1');
    await domain('n2', { uuid: id });
    const elsewhere = await refusal(lockstep.scheduler.adoptVm({ vmId: id, node: 'n2' }));
    expect(elsewhere).toMatchObject({ reason: 'VM_ID_TAKEN', metadata: { got: id } });
    expect(elsewhere.message).toContain('on n1');
    const { id: twin } = await domain('n1');
    await domain('n3', { uuid: twin });
    expect(await refusal(lockstep.scheduler.adoptVm({ vmId: twin, node: 'n3' }))).toMatchObject({ reason: 'VM_ID_TAKEN' });
    expect(await epochs('n3', twin)).toEqual([undefined, undefined]);
  });

  it('a left-over of a VM that was undefined', async () => {
    const { id, name } = await managed('n1');
    await lockstep.scheduler.undefineVm({ vm: id });
    await domain('n3', { uuid: id, name });
    await byHand('n3').stampEpoch(id, 1n, LIMIT);
    await expect.poll(async () => (await reported('n3', id))?.placementEpoch, { timeout: 20_000 }).toBe(1n);
    expect(await refusal(lockstep.scheduler.adoptVm({ vmId: id, node: 'n3' }))).toMatchObject({ reason: 'STALE_PLACEMENT' });
  });
});

async function managed(node: string): Promise<{ id: string; name: string }> {
  const domainXml = `<domain type='kvm'><name>ours-${(count += 1)}</name><memory unit='MiB'>64</memory></domain>`;
  const { vm } = await lockstep.scheduler.defineVm({ spec: { domainXml }, node });
  if (vm === undefined) throw new Error('no VM in the answer');
  await lockstep.waitForVm(vm.id, [VmState.STOPPED]);
  await expect.poll(async () => (await reported(node, vm.id))?.placementEpoch, { timeout: 20_000 }).toBe(1n);
  return vm;
}
