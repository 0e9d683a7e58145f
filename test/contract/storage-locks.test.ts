// SPDX-License-Identifier: Apache-2.0
import { connect, VmState, type Lockstep, type Vm } from '@lockstep/sdk';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { startDevCluster, type DevCluster } from '../../services/dev/cluster.js';
import { overriding } from '../../services/node-agent/test-bed.js';
import { CephError } from '../../services/platform/host/ceph.js';
import { createSimulatedStorage, type SimulatedStorage } from '../../services/platform/host/simulated-locks.js';
import { HypervisorError, type Hypervisor } from '../../services/platform/hypervisor/hypervisor.js';
import { createMemoryLogger } from '../../services/platform/log/memory.js';
import { domainXml, proveOff, runsOn, untilReady } from './dead-host.js';
import { storageLocksContract } from './storage-locks.rig.js';

let storage: SimulatedStorage;
let clients = 0;

storageLocksContract('the embedded storage cluster', () => {
  storage = createSimulatedStorage();
  return {
    locks: storage,
    makeImage() {
      clients += 1;
      const image = `vms/image${String(clients)}`;
      storage.makeImage(image);
      return Promise.resolve(image);
    },
    open(image) {
      clients += 1;
      const address = `10.0.0.9:0/${String(clients)}`;
      storage.open(image, address);
      return Promise.resolve({
        address,
        write: () => Promise.resolve(!storage.isShutOut(address)),
        die: () => Promise.resolve(),
      });
    },
  };
});

describe('a VM whose disk is on the storage cluster, when its host dies', () => {
  const WAIT = { timeout: 60_000 };
  const IMAGE = 'vms/web';
  let cluster: DevCluster;
  let lockstep: Lockstep;

  /** Guests take the lock of their disk when they start, and do not start where another has it. */
  function onStorage(node: string, hypervisor: Hypervisor): Hypervisor {
    return overriding(hypervisor, {
      start: async (uuid, call) => {
        clients += 1;
        try {
          storage.open(IMAGE, `10.0.0.${node.slice(1)}:0/${String(clients)}`);
        } catch (error) {
          throw new HypervisorError('refused', error instanceof Error ? error.message : String(error));
        }
        await hypervisor.start(uuid, call);
      },
    });
  }

  beforeEach(async () => {
    storage = createSimulatedStorage();
    storage.makeImage(IMAGE);
    cluster = await startDevCluster({ nodes: 3, log: createMemoryLogger(), hypervisorOf: onStorage, storageLocks: storage });
    lockstep = connect({ servers: [cluster.scheduler] });
    await untilReady(lockstep, 3);
  });
  afterEach(async () => {
    lockstep.close();
    await cluster.close();
  });

  async function vmOnStorage(): Promise<Vm> {
    const disk = `<devices><disk type='network'><source protocol='rbd' name='${IMAGE}'/></disk></devices>`;
    const given = { domainXml: domainXml('web').replace('</domain>', `${disk}</domain>`) };
    const { vm } = await lockstep.scheduler.defineVm({ spec: given, node: 'n1', start: true });
    if (vm === undefined) throw new Error('no VM in the answer');
    return await lockstep.waitForVm(vm.id, [VmState.RUNNING]);
  }

  async function recordOf(vm: Vm): Promise<Vm> {
    const { vm: record } = await lockstep.scheduler.getVm({ vm: vm.id });
    if (record === undefined) throw new Error('no VM in the answer');
    return record;
  }
  const reasonOf = async (vm: Vm): Promise<string | undefined> => (await recordOf(vm)).status?.reason;
  const holder = async (): Promise<string | undefined> => (await storage.useOf(IMAGE, { deadlineMs: 1_000 })).locks[0]?.address;

  it('its lock is broken with the proof and not before, and what was done is an event of it', async () => {
    const vm = await vmOnStorage();
    const first = (await holder()) ?? '';
    expect(first).toMatch(/^10\.0\.0\.1:/);
    await cluster.power('n1', 'off');
    await expect.poll(async () => (await recordOf(vm)).status?.state, WAIT).toBe(VmState.WAITING_FENCE);
    expect(await holder()).toBe(first);
    expect(storage.isShutOut(first)).toBe(false);

    await proveOff(cluster, 'n1', 'fa-1');
    await lockstep.waitForVm(vm.id, [VmState.RUNNING]);
    const [host = ''] = runsOn(cluster, vm.id);
    expect(host).not.toBe('n1');
    expect(storage.isShutOut(first)).toBe(true);
    expect(await holder()).toMatch(new RegExp(`^10\\.0\\.0\\.${host.slice(1)}:`));
    const { events } = await lockstep.scheduler.listEvents({ subject: `vms/${vm.id}` });
    const told = events.find(({ reason }) => reason === 'STORAGE_LOCKS_RELEASED')?.message;
    expect(told).toContain('n1 is proven off by fa-1');
    expect(told).toContain(`broke the locks on ${IMAGE}`);
    expect(told).toContain(first);
  });

  it('it waits with the reason while the storage cluster does not do it, and goes on when it does', async () => {
    const vm = await vmOnStorage();
    storage.failure = new CephError('monclient: hunting for a monitor');
    await cluster.power('n1', 'off');
    await proveOff(cluster, 'n1', 'fa-1');
    await expect.poll(() => reasonOf(vm), WAIT).toBe('STORAGE_UNAVAILABLE');
    const { status, placement } = await recordOf(vm);
    expect(status).toMatchObject({ state: VmState.WAITING_TARGET, detail: expect.stringContaining('hunting for a monitor') as string });
    expect(placement?.node).toBe('n1');
    expect(runsOn(cluster, vm.id)).toEqual([]);
    storage.failure = undefined;
    await lockstep.waitForVm(vm.id, [VmState.RUNNING]);
    expect(runsOn(cluster, vm.id)).not.toEqual(['n1']);
    expect((await recordOf(vm)).trouble).toBeUndefined();
  });

  it("somebody else's lock is left alone: it waits until that is given back", async () => {
    const vm = await vmOnStorage();
    storage.close(IMAGE, (await holder()) ?? '');
    storage.open(IMAGE, '172.16.0.1:0/5');
    await cluster.power('n1', 'off');
    await proveOff(cluster, 'n1', 'fa-1');
    await expect.poll(() => reasonOf(vm), WAIT).toBe('STORAGE_LOCKED');
    expect((await recordOf(vm)).status).toMatchObject({ state: VmState.WAITING_TARGET, detail: expect.stringContaining('172.16.0.1:0/5') as string });
    expect(storage.isShutOut('172.16.0.1:0/5')).toBe(false);
    storage.close(IMAGE, '172.16.0.1:0/5');
    await lockstep.waitForVm(vm.id, [VmState.RUNNING]);
  });

  it('a host that is back is not shut out: what it starts then writes', async () => {
    const vm = await vmOnStorage();
    await cluster.power('n1', 'off');
    await proveOff(cluster, 'n1', 'fa-1');
    await lockstep.waitForVm(vm.id, [VmState.RUNNING]);
    await cluster.power('n1', 'on');
    await untilReady(lockstep, 3);
    clients += 1;
    const again = `10.0.0.1:0/${String(clients)}`;
    storage.close(IMAGE, (await holder()) ?? '');
    expect(() => { storage.open(IMAGE, again); }).not.toThrow();
    expect(storage.isShutOut(again)).toBe(false);
  });
});
