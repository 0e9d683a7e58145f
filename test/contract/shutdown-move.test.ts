// SPDX-License-Identifier: Apache-2.0
import { ApiError, MigrationMode, MigrationState, MigrationStep, VmDesired, VmState, type Lockstep, type Migration } from '@lockstep/sdk';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { overriding } from '../../services/node-agent/test-bed.js';
import { HypervisorError, type Hypervisor } from '../../services/platform/hypervisor/hypervisor.js';
import { startEmbeddedMesh, type EmbeddedMesh } from './embedded-mesh.js';

// Moving by shutdown, asked for or fallen back to, over real gRPC: what a user of the API meets.

let mesh: EmbeddedMesh;
let lockstep: Lockstep;
let count = 0;
/** What n2's hypervisor does not do. */
const n2 = { refusesLive: false, refusesTransfer: false, refusesStart: false };

function moody(node: string, hypervisor: Hypervisor): Hypervisor {
  if (node === 'n1') {
    return overriding(hypervisor, {
      openOutgoing: async (uuid, call) => {
        const outgoing = await hypervisor.openOutgoing(uuid, call);
        return overriding(outgoing, {
          perform: async (input) => {
            if (n2.refusesTransfer) throw new HypervisorError('refused', 'the target has no such device: operation failed');
            return await outgoing.perform(input);
          },
        });
      },
    });
  }
  if (node !== 'n2') return hypervisor;
  return overriding(hypervisor, {
    openIncoming: async (uuid, call) => {
      if (n2.refusesLive) throw new HypervisorError('refused', "guest CPU doesn't match specification");
      return await hypervisor.openIncoming(uuid, call);
    },
    start: async (uuid, call) => {
      if (n2.refusesStart) throw new HypervisorError('refused', 'the storage is not there');
      await hypervisor.start(uuid, call);
    },
  });
}

beforeAll(async () => {
  mesh = await startEmbeddedMesh({ nodes: 3, bytesPerSecond: 40_000_000, hypervisorOf: moody });
  ({ lockstep } = mesh);
});

afterAll(async () => {
  await mesh.close();
});

interface Guest {
  /** Attributes of the simulated guest. */
  behaviour?: string;
  start?: boolean;
  shutdownLimitS?: bigint;
}

async function vmOn(node: string, { behaviour = 'shutdown-ms="50"', start = true, shutdownLimitS = 60n }: Guest = {}) {
  const metadata = `<metadata><lockstep:vm xmlns:lockstep="https://lockstep.dev/xmlns/domain/1"><lockstep:simulated ${behaviour}/></lockstep:vm></metadata>`;
  const domainXml = `<domain type='kvm'><name>cold-${String((count += 1))}</name><memory unit='MiB'>64</memory><vcpu>1</vcpu>${metadata}</domain>`;
  const spec = { domainXml, shutdownLimit: { seconds: shutdownLimitS, nanos: 0 } };
  const { vm } = await lockstep.scheduler.defineVm({ spec, node, start });
  if (vm === undefined) throw new Error('no VM in the answer');
  return await lockstep.waitForVm(vm.id, [start ? VmState.RUNNING : VmState.STOPPED]);
}

async function move(vm: string, mode: MigrationMode, options: { setHome?: boolean; targetNode?: string } = {}): Promise<Migration> {
  const { migration } = await lockstep.scheduler.createMigration({ vm, targetNode: 'n2', mode, ...options });
  return await lockstep.waitForMigration(migration?.id ?? '');
}

/** On how many hosts a definition or a process of it is left. */
async function copies(uuid: string): Promise<string[]> {
  const found: string[] = [];
  for (const host of mesh.cluster.hosts.values()) {
    const hypervisor = host.hypervisor();
    if ((await hypervisor.find(uuid, { deadlineMs: 5_000 })) !== undefined) found.push(host.name);
    await hypervisor.close();
  }
  return found;
}

async function recordOf(vm: string) {
  const { vm: record } = await lockstep.scheduler.getVm({ vm });
  if (record === undefined) throw new Error('no VM in the answer');
  return record;
}

describe('a move by shutdown', () => {
  it('stops the guest here and starts it there, and leaves nothing behind', async () => {
    const vm = await vmOn('n1');
    const ended = await move(vm.name, MigrationMode.SHUTDOWN);
    expect(ended).toMatchObject({ state: MigrationState.SUCCEEDED, modeUsed: MigrationMode.SHUTDOWN, reason: '' });
    expect(ended.phases.map(({ step, ok }) => [step, ok])).toEqual([
      [MigrationStep.STOP_SOURCE, true],
      [MigrationStep.PLACE, true],
      [MigrationStep.START_TARGET, true],
    ]);
    expect(mesh.runsOn(vm.id)).toEqual(['n2']);
    expect(await copies(vm.id)).toEqual(['n2']);
    const { placement, homeNode } = await recordOf(vm.id);
    expect(placement).toMatchObject({ node: 'n2', epoch: ended.placementEpoch, migrationId: '' });
    expect(placement?.epoch).toBeGreaterThan(ended.sourcePlacementEpoch);
    expect(homeNode).toBe('n1');
  });

  it('forces a guest that ignores the wish once its limit is over', async () => {
    const vm = await vmOn('n1', { behaviour: 'shutdown="ignored"', shutdownLimitS: 1n });
    const ended = await move(vm.name, MigrationMode.SHUTDOWN);
    expect(ended.state).toBe(MigrationState.SUCCEEDED);
    expect(ended.phases[0]?.detail).toContain('forced');
    expect(mesh.runsOn(vm.id)).toEqual(['n2']);
  });

  it('of a stopped VM moves what is defined, and starts nothing', async () => {
    const vm = await vmOn('n1', { start: false });
    const ended = await move(vm.name, MigrationMode.SHUTDOWN);
    expect(ended).toMatchObject({ state: MigrationState.SUCCEEDED, detail: expect.stringContaining('stays stopped on n2') as string });
    expect(mesh.runsOn(vm.id)).toEqual([]);
    await expect.poll(() => copies(vm.id)).toEqual(['n2']);
    await lockstep.scheduler.startVm({ vm: vm.id });
    await lockstep.waitForVm(vm.id, [VmState.RUNNING]);
    expect(mesh.runsOn(vm.id)).toEqual(['n2']);
  });

  it('whose target does not start it brings it back: it runs again on its source', async () => {
    const vm = await vmOn('n1');
    n2.refusesStart = true;
    try {
      const ended = await move(vm.name, MigrationMode.SHUTDOWN);
      expect(ended).toMatchObject({ state: MigrationState.FAILED, reason: 'HYPERVISOR_REFUSED' });
      expect(ended.detail).toContain('the storage is not there');
      expect(ended.detail).toContain(`${vm.name} runs on n1 again`);
    } finally {
      n2.refusesStart = false;
    }
    expect(mesh.runsOn(vm.id)).toEqual(['n1']);
    expect(await copies(vm.id)).toEqual(['n1']);
    expect((await move(vm.name, MigrationMode.SHUTDOWN)).state).toBe(MigrationState.SUCCEEDED);
  });

  it('cannot be called off once the guest was told to shut down', async () => {
    const vm = await vmOn('n1', { behaviour: 'shutdown="ignored"', shutdownLimitS: 2n });
    const { migration } = await lockstep.scheduler.createMigration({ vm: vm.id, targetNode: 'n2', mode: MigrationMode.SHUTDOWN });
    const id = migration?.id ?? '';
    await expect
      .poll(async () => (await lockstep.scheduler.getMigration({ id })).migration?.state)
      .toBe(MigrationState.SHUTTING_DOWN);
    const refusal = await lockstep.scheduler.cancelMigration({ id }).catch((error: unknown) => error);
    expect(refusal).toBeInstanceOf(ApiError);
    expect(refusal).toMatchObject({ reason: 'PAST_POINT_OF_NO_RETURN' });
    expect(await lockstep.waitForMigration(id)).toMatchObject({ state: MigrationState.SUCCEEDED, cancelRequested: false });
  });

  it('of a VM that is stopped by its user meanwhile ends with it stopped', async () => {
    const vm = await vmOn('n1', { behaviour: 'shutdown="ignored"', shutdownLimitS: 2n });
    const { migration } = await lockstep.scheduler.createMigration({ vm: vm.id, targetNode: 'n2', mode: MigrationMode.SHUTDOWN });
    const id = migration?.id ?? '';
    await expect
      .poll(async () => (await lockstep.scheduler.getMigration({ id })).migration?.state)
      .toBe(MigrationState.SHUTTING_DOWN);
    await lockstep.scheduler.stopVm({ vm: vm.id });
    expect((await lockstep.waitForMigration(id)).state).toBe(MigrationState.SUCCEEDED);
    expect(mesh.runsOn(vm.id)).toEqual([]);
    expect(await recordOf(vm.id)).toMatchObject({ desired: VmDesired.STOPPED, placement: { node: 'n2' } });
  });
});

describe('a live attempt that the target refuses', () => {
  beforeAll(() => {
    n2.refusesLive = true;
  });
  afterAll(() => {
    n2.refusesLive = false;
  });

  it('falls back to shutdown where that is allowed, and keeps why (M13)', async () => {
    const vm = await vmOn('n1');
    const ended = await move(vm.name, MigrationMode.LIVE_OR_SHUTDOWN);
    expect(ended).toMatchObject({ state: MigrationState.SUCCEEDED, modeUsed: MigrationMode.SHUTDOWN });
    expect(ended.detail).toContain('HYPERVISOR_REFUSED');
    expect(ended.detail).toContain('guest CPU');
    // The live attempt is made once, and undone at both ends before the guest is told to shut down.
    const steps = ended.phases.map(({ step }) => step);
    expect(steps.filter((step) => step === MigrationStep.PREPARE_TARGET)).toHaveLength(1);
    expect(steps.indexOf(MigrationStep.ABORT_SOURCE)).toBeLessThan(steps.indexOf(MigrationStep.STOP_SOURCE));
    expect(mesh.runsOn(vm.id)).toEqual(['n2']);
    expect(await copies(vm.id)).toEqual(['n2']);
  });

  it('never shuts the guest down where live is enforced (M13)', async () => {
    const vm = await vmOn('n1');
    const boot = mesh.cluster.hosts.get('n1')?.guest(vm.id)?.memory().boot;
    const ended = await move(vm.name, MigrationMode.LIVE_ONLY);
    expect(ended).toMatchObject({ state: MigrationState.ABORTED, reason: 'HYPERVISOR_REFUSED', modeUsed: MigrationMode.LIVE_ONLY });
    expect(ended.detail).toContain('the guest runs on at n1');
    expect(ended.phases.some(({ step }) => step === MigrationStep.STOP_SOURCE)).toBe(false);
    expect(mesh.runsOn(vm.id)).toEqual(['n1']);
    expect(mesh.cluster.hosts.get('n1')?.guest(vm.id)?.memory().boot).toBe(boot);
  });

  it('and whose fall-back does not start there either runs again on its source', async () => {
    const vm = await vmOn('n1');
    n2.refusesStart = true;
    try {
      const ended = await move(vm.name, MigrationMode.LIVE_OR_SHUTDOWN);
      expect(ended.state).toBe(MigrationState.FAILED);
      expect(ended.detail).toMatch(/guest CPU.*the storage is not there.*runs on n1 again/s);
    } finally {
      n2.refusesStart = false;
    }
    expect(mesh.runsOn(vm.id)).toEqual(['n1']);
    expect(await copies(vm.id)).toEqual(['n1']);
  });
});

describe('a target that refuses at Transfer', () => {
  it('costs a move that is live or not at all nothing: it runs on at its source, and nothing is shut down', async () => {
    const vm = await vmOn('n1');
    const boots = mesh.cluster.hosts.get('n1')?.guest(vm.id)?.counter() ?? 0;
    n2.refusesTransfer = true;
    const ended = await move(vm.name, MigrationMode.LIVE_ONLY).finally(() => (n2.refusesTransfer = false));
    expect(ended).toMatchObject({ state: MigrationState.ABORTED, reason: 'HYPERVISOR_REFUSED' });
    expect(ended.detail).toContain('the target has no such device');
    expect(ended.phases.map(({ step }) => step)).not.toContain(MigrationStep.STOP_SOURCE);
    expect((await lockstep.waitForVm(vm.id, [VmState.RUNNING])).placement?.node).toBe('n1');
    expect(mesh.runsOn(vm.id)).toEqual(['n1']);
    expect(mesh.cluster.hosts.get('n1')?.guest(vm.id)?.counter()).toBeGreaterThan(boots);
    expect(await copies(vm.id)).toEqual(['n1']);
  });

  it('ancestor 4: the fall-back to shutdown is no second live migration', async () => {
    const vm = await vmOn('n1');
    n2.refusesTransfer = true;
    const ended = await move(vm.name, MigrationMode.LIVE_OR_SHUTDOWN).finally(() => (n2.refusesTransfer = false));
    expect(ended).toMatchObject({ state: MigrationState.SUCCEEDED, modeUsed: MigrationMode.SHUTDOWN });
    const steps = ended.phases.map(({ step }) => step);
    expect(steps.filter((step) => step === MigrationStep.TRANSFER)).toHaveLength(1);
    expect(steps.indexOf(MigrationStep.STOP_SOURCE)).toBeGreaterThan(steps.indexOf(MigrationStep.ABORT_SOURCE));
    expect(mesh.runsOn(vm.id)).toEqual(['n2']);
  });
});

describe('home', () => {
  it.each([MigrationMode.LIVE_ONLY, MigrationMode.SHUTDOWN])('follows a move that sets it, by mode %i, and nothing else', async (mode) => {
    const vm = await vmOn('n1');
    await move(vm.id, mode);
    expect((await recordOf(vm.id)).homeNode).toBe('n1');
    await move(vm.id, mode, { setHome: true, targetNode: 'n3' });
    expect((await recordOf(vm.id)).homeNode).toBe('n3');
  });
});
