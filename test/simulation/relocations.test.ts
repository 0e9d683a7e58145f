// SPDX-License-Identifier: Apache-2.0
import { VmState, type Vm } from '@lockstep/sdk/v1';
import { HypervisorError } from '@lockstep/services/platform/hypervisor/hypervisor.js';
import { beforeEach, describe, expect, it } from 'vitest';
import { Desk } from './world/desk.js';

let desk: Desk;
let starts: string[];
let failing: number;

beforeEach(async () => {
  desk = new Desk();
  starts = [];
  failing = 0;
  desk.cluster.onHypervisorCall = (host, method) => {
    if (method !== 'start') return undefined;
    starts.push(host);
    return starts.length <= failing ? new HypervisorError('failed', 'its storage is not there') : undefined;
  };
  await desk.open();
});

async function define(maxRelocate: number): Promise<string> {
  const domainXml = "<domain type='kvm'><name>fails</name><memory unit='MiB'>64</memory><vcpu>1</vcpu></domain>";
  const spec = { domainXml, maxRestart: 0, maxRelocate };
  const { vm } = await desk.ask((api) => api.defineVm({ node: 'n1', start: true, spec, requestId: 'fails' }));
  return vm?.id ?? '';
}

async function vmOf(vm: string): Promise<Vm | undefined> {
  return (await desk.ask((api) => api.getVm({ vm }))).vm;
}

describe('a VM that fails to start', () => {
  it('goes round all nodes again where it may be relocated as often', async () => {
    failing = 3;
    const vm = await define(3);
    await desk.see('it runs', () => desk.cluster.guests.runningOn(vm).length > 0, 600_000);
    expect(new Set(starts.slice(0, 3))).toEqual(new Set(['n1', 'n2', 'n3']));
    expect(starts).toHaveLength(4);
    expect((await vmOf(vm))?.trouble).toMatchObject({ relocations: 3, givenUp: false });
  });

  it('runs on, here or there, where its node gave it up and the store did not take where it goes', async () => {
    failing = 1;
    const { store, clock } = desk.cluster;
    const onPoint = desk.cluster.onPoint.bind(desk.cluster);
    let broken = false;
    desk.cluster.onPoint = (process, life, point) => {
      if (point === 'scheduler/relocation/left' && !broken) {
        broken = true;
        store.failing.set(life.site, 'writes');
        clock.after(1_000, () => store.failing.delete(life.site));
      }
      onPoint(process, life, point);
    };
    const vm = await define(1);
    await desk.see('it runs', () => desk.cluster.guests.runningOn(vm).length > 0, 600_000);
    expect(broken).toBe(true);
    await desk.rest();
  });

  it('ends in ERROR after as many relocations, and not before', async () => {
    failing = Infinity;
    const vm = await define(4);
    await desk.pass(300_000);
    expect((await vmOf(vm))?.status).toMatchObject({ state: VmState.ERROR, reason: 'RELOCATIONS_EXHAUSTED' });
    expect(starts).toHaveLength(5);
  });
});

describe('a guest that crashes again and again', () => {
  it('is started after longer and longer waits, then on another node, and ends in ERROR with its reason', async () => {
    const { clock, agents } = desk.cluster;
    const begun: { host: string; atMs: number }[] = [];
    let vm = '';
    desk.cluster.onHypervisorCall = (host, method) => {
      if (method !== 'start') return undefined;
      begun.push({ host, atMs: clock.nowMs() });
      clock.after(2_000, () => {
        for (const agent of agents) if (agent.host.name === host) agent.host.crashGuest(vm);
      });
      return undefined;
    };
    const domainXml = "<domain type='kvm'><name>loops</name><memory unit='MiB'>64</memory><vcpu>1</vcpu></domain>";
    const spec = { domainXml, maxRestart: 3, maxRelocate: 1 };
    vm = (await desk.ask((api) => api.defineVm({ node: 'n1', start: true, spec, requestId: 'loops' }))).vm?.id ?? '';
    const isOver = async (): Promise<boolean> => (await vmOf(vm))?.status?.reason === 'RELOCATIONS_EXHAUSTED';
    for (let passed = 0; passed < 1_200_000 && !(await isOver()); passed += 5_000) await desk.pass(5_000);
    const status = (await vmOf(vm))?.status;
    expect(status).toMatchObject({ state: VmState.ERROR, reason: 'RELOCATIONS_EXHAUSTED' });
    const hosts = [...new Set(begun.map(({ host }) => host))];
    expect(hosts).toHaveLength(2);
    expect(hosts[0]).toBe('n1');
    for (const host of hosts) {
      expect(status?.detail).toContain(host);
      const times = begun.filter((one) => one.host === host).map(({ atMs }) => atMs);
      expect(times).toHaveLength(4);
      const waits = times.slice(1).map((atMs, place) => atMs - (times[place] ?? 0));
      expect(waits[1]).toBeGreaterThan(waits[0] ?? 0);
      expect(waits[2]).toBeGreaterThan(waits[1] ?? 0);
    }
    // It stays so until somebody starts it: then it has all its tries again.
    await desk.pass(120_000);
    expect(begun).toHaveLength(8);
    await desk.ask((api) => api.startVm({ vm }));
    await desk.see('it is tried again', () => begun.length > 8, 600_000);
  });
});
