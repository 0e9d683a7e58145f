// SPDX-License-Identifier: Apache-2.0
import {
  ApiError,
  MigrationMode,
  MigrationState,
  MigrationStep,
  VmState,
  type Lockstep,
  type Migration,
} from '@lockstep/sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { DevCluster } from '../../services/dev/cluster.js';
import { startEmbeddedMesh, type EmbeddedMesh } from './embedded-mesh.js';

// The whole mesh on the embedded parts, over real gRPC: what a user of the API meets.

/** Slow enough that a transfer of 64 MiB can be met on its way. */
const SLOW_LINK = 40_000_000;

let mesh: EmbeddedMesh;
let cluster: DevCluster;
let lockstep: Lockstep;
let count = 0;

beforeAll(async () => {
  mesh = await startEmbeddedMesh({ nodes: 3, bytesPerSecond: SLOW_LINK });
  ({ cluster, lockstep } = mesh);
});

afterAll(async () => {
  await mesh.close();
});

interface Definition {
  name?: string;
  uuid?: string;
  memoryMib?: number;
}

function domainXml({ name = `vm-${(count += 1)}`, uuid, memoryMib = 64 }: Definition = {}): string {
  const id = uuid === undefined ? '' : `<uuid>${uuid}</uuid>`;
  return `<domain type='kvm'><name>${name}</name>${id}<memory unit='MiB'>${memoryMib}</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>`;
}

async function running(node: string, definition: Definition = {}): Promise<{ id: string; name: string }> {
  const { vm } = await lockstep.scheduler.defineVm({ spec: { domainXml: domainXml(definition) }, node, start: true });
  if (vm === undefined) throw new Error('no VM in the answer');
  await lockstep.waitForVm(vm.id, [VmState.RUNNING]);
  return vm;
}

async function migrate(vm: string, targetNode: string, mode: MigrationMode = MigrationMode.LIVE_ONLY): Promise<Migration> {
  const { migration } = await lockstep.scheduler.createMigration({ vm, targetNode, mode });
  if (migration === undefined) throw new Error('no migration in the answer');
  return migration;
}

async function refusal(call: Promise<unknown>): Promise<ApiError> {
  const error = await call.then(
    () => undefined,
    (reason: unknown) => reason,
  );
  expect(error).toBeInstanceOf(ApiError);
  return error as ApiError;
}

describe('a live migration', () => {
  it('moves the guest with its memory, step by step, and leaves nothing behind', async () => {
    const vm = await running('n1');
    const before = cluster.hosts.get('n1')?.guest(vm.id)?.counter() ?? 0;
    const ended = await lockstep.waitForMigration((await migrate(vm.name, 'n2')).id);
    expect(ended.state).toBe(MigrationState.SUCCEEDED);
    expect(ended.phases.map(({ step }) => step)).toEqual([
      MigrationStep.PREPARE_SOURCE,
      MigrationStep.PREPARE_TARGET,
      MigrationStep.TRANSFER,
      MigrationStep.COMMIT_TARGET,
      MigrationStep.PLACE,
      MigrationStep.COMMIT_SOURCE,
    ]);
    expect(ended.phases.every(({ ok, endTime }) => ok && endTime !== undefined)).toBe(true);
    expect(ended.outcome?.gap).toBeDefined();
    expect(ended.outcome?.downtime).toBeDefined();
    expect(mesh.runsOn(vm.id)).toEqual(['n2']);
    expect(cluster.hosts.get('n1')?.guest(vm.id)).toBeUndefined();
    expect(cluster.hosts.get('n2')?.guest(vm.id)?.counter()).toBeGreaterThan(before);
    const { vm: now } = await lockstep.scheduler.getVm({ vm: vm.name });
    expect(now?.placement).toMatchObject({ node: 'n2', epoch: ended.placementEpoch, migrationId: '' });
  });

  it('is watched from its snapshot to its end, with progress on the way', async () => {
    const vm = await running('n1', { memoryMib: 512 });
    const { id } = await migrate(vm.name, 'n3');
    const seen: Migration[] = [];
    for await (const { changed } of lockstep.scheduler.watchMigrations({ id })) seen.push(...changed);
    expect(seen.at(-1)?.state).toBe(MigrationState.SUCCEEDED);
    const sent = seen.flatMap(({ progress }) => progress?.memorySentBytes ?? []);
    expect(sent.length).toBeGreaterThan(1);
    expect(sent.at(-1)).toBeGreaterThan(sent[0] ?? 0n);
  });

  it('that is cancelled on its way leaves the guest where it was', async () => {
    const vm = await running('n1', { memoryMib: 512 });
    const { id } = await migrate(vm.name, 'n2');
    await expect
      .poll(async () => (await lockstep.scheduler.getMigration({ id })).migration?.progress?.memorySentBytes ?? 0n, { timeout: 10_000 })
      .toBeGreaterThan(0n);
    await lockstep.scheduler.cancelMigration({ id });
    const ended = await lockstep.waitForMigration(id);
    expect(ended).toMatchObject({ state: MigrationState.ABORTED, reason: 'CANCELLED' });
    expect(mesh.runsOn(vm.id)).toEqual(['n1']);
    expect(cluster.hosts.get('n2')?.guest(vm.id)).toBeUndefined();
    expect((await refusal(lockstep.scheduler.cancelMigration({ id }))).reason).toBe('MIGRATION_ENDED');
    const again = await lockstep.waitForMigration((await migrate(vm.name, 'n2')).id);
    expect(again.state).toBe(MigrationState.SUCCEEDED);
  });

  it('with a request_id sent twice is one migration', async () => {
    const vm = await running('n1');
    const request = { requestId: 'once-only', vm: vm.name, targetNode: 'n2' };
    const [first, second] = await Promise.all([
      lockstep.scheduler.createMigration(request),
      lockstep.scheduler.createMigration(request).catch(() => lockstep.scheduler.createMigration(request)),
    ]);
    expect(second.migration?.id).toBe(first.migration?.id);
    const { migrations } = await lockstep.scheduler.listMigrations({ vm: vm.name });
    expect(migrations).toHaveLength(1);
    await lockstep.waitForMigration(first.migration?.id ?? '');
  });

  it('of two VMs goes in opposite directions at the same time', async () => {
    const [left, right] = await Promise.all([running('n1', { memoryMib: 256 }), running('n2', { memoryMib: 256 })]);
    const moves = await Promise.all([migrate(left.name, 'n2'), migrate(right.name, 'n1')]);
    const ended = await Promise.all(moves.map(({ id }) => lockstep.waitForMigration(id)));
    expect(ended.map(({ state }) => state)).toEqual([MigrationState.SUCCEEDED, MigrationState.SUCCEEDED]);
    expect([mesh.runsOn(left.id), mesh.runsOn(right.id)]).toEqual([['n2'], ['n1']]);
    const transfers = ended.map(({ phases }) => phases.find(({ step }) => step === MigrationStep.TRANSFER));
    const [a, b] = transfers.map((phase) => ({ from: phase?.startTime?.getTime() ?? 0, to: phase?.endTime?.getTime() ?? 0 }));
    expect(Math.max(a?.from ?? 0, b?.from ?? 0)).toBeLessThan(Math.min(a?.to ?? 0, b?.to ?? 0));
  });
});

describe('the life of a VM', () => {
  it('goes from its definition over start and stop to its end', async () => {
    const { vm } = await lockstep.scheduler.defineVm({ spec: { domainXml: domainXml({ name: 'life' }) } });
    expect(vm).toMatchObject({ name: 'life', spec: { memoryBytes: 64n << 20n, vcpus: 1 } });
    await lockstep.waitForVm('life', [VmState.STOPPED]);
    await lockstep.scheduler.startVm({ vm: 'life' });
    await lockstep.waitForVm('life', [VmState.RUNNING]);
    expect((await refusal(lockstep.scheduler.undefineVm({ vm: 'life' }))).reason).toBe('VM_RUNNING');
    await lockstep.scheduler.stopVm({ vm: 'life' });
    await lockstep.waitForVm('life', [VmState.STOPPED]);
    await lockstep.scheduler.undefineVm({ vm: 'life' });
    expect((await refusal(lockstep.scheduler.getVm({ vm: 'life' }))).reason).toBe('VM_NOT_FOUND');
  });

  it('that cannot be started says why', async () => {
    const { vm } = await lockstep.scheduler.defineVm({
      spec: { domainXml: domainXml({ name: 'too-big', memoryMib: 100 * 1024 }) },
      node: 'n1',
      start: true,
    });
    const ended = await lockstep.waitForVm(vm?.id ?? '', [VmState.ERROR]);
    expect(ended.status?.reason).not.toBe('');
    expect(ended.status?.detail).toContain('memory');
    await lockstep.scheduler.stopVm({ vm: 'too-big' });
    await lockstep.waitForVm('too-big', [VmState.STOPPED]);
    await lockstep.scheduler.undefineVm({ vm: 'too-big' });
  });

  it('begins anew above its old epochs when its UUID is defined again', async () => {
    const uuid = '5b1f3c1e-0000-4000-8000-000000000001';
    const first = await running('n1', { name: 'again', uuid });
    await lockstep.scheduler.stopVm({ vm: first.id, force: true });
    await lockstep.waitForVm(first.id, [VmState.STOPPED]);
    const { vm: before } = await lockstep.scheduler.getVm({ vm: first.id });
    await lockstep.scheduler.undefineVm({ vm: first.id });
    await running('n1', { name: 'again', uuid });
    const { vm: after } = await lockstep.scheduler.getVm({ vm: uuid });
    expect(after?.placement?.epoch).toBeGreaterThan(before?.placement?.lastEpoch ?? 0n);
  });

  it('counts on its node while it is stopped, so the mem selector looks elsewhere (M2)', async () => {
    const { node: free } = await explain(await define({ memoryMib: 64 }));
    const half = 20 * 1024;
    await lockstep.scheduler.defineVm({ spec: { domainXml: domainXml({ memoryMib: half }) }, node: free });
    const { node: now } = await explain(await define({ memoryMib: 64 }));
    expect(now).not.toBe(free);
    const { node } = await lockstep.scheduler.getNode({ name: free });
    expect(node?.figures?.memory?.provisionedBytes).toBeGreaterThanOrEqual(BigInt(half) << 20n);
  });
});

async function define(definition: Definition): Promise<string> {
  const { vm } = await lockstep.scheduler.defineVm({ spec: { domainXml: domainXml(definition) }, node: 'n1' });
  return vm?.name ?? '';
}

/** The best node for a VM that leaves n1. */
async function explain(vm: string): Promise<{ node: string }> {
  return await lockstep.scheduler.explainPlacement({ vm });
}

describe('bad input changes nothing (INV-7)', () => {
  const hostile: readonly [what: string, xml: string, reason: string][] = [
    ['no XML at all', 'this is no XML', 'INVALID_DOMAIN_XML'],
    ['nothing', '', 'INVALID_DOMAIN_XML'],
    ['two names', domainXml().replace('</name>', '</name><name>other</name>'), 'INVALID_DOMAIN_XML'],
    ['no memory', domainXml().replace(/<memory.*?<\/memory>/, ''), 'INVALID_DOMAIN_XML'],
    ['another root', '<network><name>n</name></network>', 'INVALID_DOMAIN_XML'],
    [
      'entity expansion',
      `<!DOCTYPE domain [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>${domainXml().replace('vm-', '&b;')}`,
      'INVALID_DOMAIN_XML',
    ],
    ['more than 256 KiB', domainXml().replace('<os>', `<!--${'x'.repeat(256 * 1024)}--><os>`), 'DOMAIN_XML_TOO_LARGE'],
  ];

  it.each(hostile)('domain XML with %s', async (_what, xml, reason) => {
    const before = await lockstep.scheduler.listVms({});
    const error = await refusal(lockstep.scheduler.defineVm({ spec: { domainXml: xml } }));
    expect(error.reason).toBe(reason);
    expect(error.metadata['field']).toContain('domain_xml');
    expect(error.metadata['want']).not.toBe('');
    expect((await lockstep.scheduler.listVms({})).vms.length).toBe(before.vms.length);
  });

  it('a name and a UUID that are taken', async () => {
    const { vm } = await lockstep.scheduler.defineVm({ spec: { domainXml: domainXml({ name: 'taken' }) } });
    const sameName = await refusal(lockstep.scheduler.defineVm({ spec: { domainXml: domainXml({ name: 'taken' }) } }));
    expect(sameName).toMatchObject({ reason: 'VM_NAME_TAKEN', metadata: { got: 'taken' } });
    const xml = domainXml({ name: 'not-taken', uuid: vm?.id ?? '' });
    expect(await refusal(lockstep.scheduler.defineVm({ spec: { domainXml: xml } }))).toMatchObject({ reason: 'VM_ID_TAKEN' });
  });

  it('names that are not there', async () => {
    const vm = await running('n1');
    expect(await refusal(lockstep.scheduler.startVm({ vm: 'nosuch' }))).toMatchObject({ reason: 'VM_NOT_FOUND', metadata: { vm: 'nosuch' } });
    expect(await refusal(lockstep.scheduler.getNode({ name: 'nosuch' }))).toMatchObject({ reason: 'NODE_NOT_FOUND' });
    const noNode = await refusal(migrate(vm.name, 'nosuch'));
    expect(noNode).toMatchObject({ reason: 'NODE_NOT_FOUND', metadata: { field: 'target_node', want: 'one of n1, n2, n3' } });
    expect(await refusal(lockstep.scheduler.cancelMigration({ id: 'nosuch' }))).toMatchObject({ reason: 'MIGRATION_NOT_FOUND' });
  });

  it('a target that is the source, or too small (M14, NO_FIT)', async () => {
    const vm = await running('n1');
    expect(await refusal(migrate(vm.name, 'n1'))).toMatchObject({ reason: 'SAME_NODE', metadata: { field: 'target_node' } });
    const filler = domainXml({ memoryMib: 31 * 1024 });
    await lockstep.scheduler.defineVm({ spec: { domainXml: filler }, node: 'n2' });
    const noFit = await refusal(migrate(vm.name, 'n2'));
    expect(noFit).toMatchObject({ reason: 'NO_FIT', metadata: { field: 'target_node', node: 'n2' } });
    expect(noFit.message).toContain('GiB');
    expect(mesh.runsOn(vm.id)).toEqual(['n1']);
  });

  it('a VM that does not run cannot move live', async () => {
    const name = await define({});
    await lockstep.waitForVm(name, [VmState.STOPPED]);
    expect((await refusal(migrate(name, 'n2'))).reason).toBe('VM_NOT_RUNNING');
  });

  it('a page token of another list, a request ID that is none', async () => {
    expect((await refusal(lockstep.scheduler.listVms({ pageToken: 'x' }))).reason).toBe('PAGE_TOKEN_INVALID');
    const error = await refusal(lockstep.scheduler.defineVm({ requestId: 'a b', spec: { domainXml: domainXml() } }));
    expect(error).toMatchObject({ reason: 'INVALID_FIELD', metadata: { field: 'request_id' } });
  });
});
