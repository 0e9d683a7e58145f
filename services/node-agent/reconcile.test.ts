// SPDX-License-Identifier: Apache-2.0
import { NodeAgentServiceGetNodeRequest, VmDesired, VmState, type VmReport } from '@lockstep/sdk/v1';
import { beforeEach, describe, expect, it } from 'vitest';
import { withPlacementEpoch } from '../core/domain-xml/epoch.js';
import { HypervisorError, type Hypervisor } from '../platform/hypervisor/hypervisor.js';
import { DEFAULT_TIMING } from './config.js';
import { call, domainXml, overriding, spec, TestBed, VM, type TestNode } from './test-bed.js';
import { TestLeader } from './test-leader.js';

let bed: TestBed;
let a: TestNode;
let leader: TestLeader;

beforeEach(async () => {
  bed = new TestBed();
  a = await bed.node('a');
  leader = new TestLeader(bed);
  await bed.record({ node: 'a', epoch: 1n });
});

async function report(node = a): Promise<VmReport | undefined> {
  await bed.clock.advance(50);
  const answer = await Promise.resolve(node.service.getNode(NodeAgentServiceGetNodeRequest.create({}), call()));
  return (answer.vms as VmReport[]).find(({ vmId }) => vmId === VM);
}

const starts = (): number => bed.changes.filter(({ what, running }) => running && what === 'spawned').length;

describe('what a VM shall be', () => {
  it('is worked towards: defined with its placement epoch, started, stopped by asking', async () => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    expect(await report()).toMatchObject({ running: true, placementEpoch: 1n, status: { state: VmState.RUNNING } });
    await leader.apply(a, 1n, VmDesired.STOPPED);
    expect((await report())?.status?.state).toBe(VmState.STOPPING);
    await bed.clock.advance(5_000);
    expect(await report()).toMatchObject({ running: false, status: { state: VmState.STOPPED } });
    await bed.clock.advance(60_000);
    expect(starts()).toBe(1);
  });

  it('is picked up when it changes on the way: a start that comes while the guest shuts down', async () => {
    await leader.apply(a, 1n, VmDesired.RUNNING, spec({ simulated: "shutdown-ms='20000'" }));
    await bed.clock.advance(2_000);
    await leader.apply(a, 1n, VmDesired.STOPPED, spec({ simulated: "shutdown-ms='20000'" }));
    await bed.clock.advance(3_000);
    await leader.apply(a, 1n, VmDesired.RUNNING, spec({ simulated: "shutdown-ms='20000'" }));
    await bed.clock.advance(40_000);
    expect(bed.runningOn()).toEqual(['a']);
    expect(starts()).toBe(2);
  });

  it('is forced where the guest does not listen within its limit', async () => {
    const deaf = spec({ simulated: "shutdown='ignored'", shutdownLimitS: 30 });
    await leader.apply(a, 1n, VmDesired.RUNNING, deaf);
    await bed.clock.advance(2_000);
    await leader.apply(a, 1n, VmDesired.STOPPED, deaf);
    await bed.clock.advance(25_000);
    expect(bed.runningOn()).toEqual(['a']);
    await bed.clock.advance(10_000);
    expect(bed.runningOn()).toEqual([]);
  });

  it('is refused at or under the floor', async () => {
    await leader.giveUp(a, 3n);
    await expect(leader.apply(a, 3n)).rejects.toMatchObject({ reason: 'STALE_PLACEMENT' });
    await leader.apply(a, 4n);
    await bed.clock.advance(2_000);
    expect(bed.runningOn()).toEqual(['a']);
  });

  it('under a fresh epoch takes over the copy that runs here, without a restart', async () => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    await leader.apply(a, 2n);
    await bed.clock.advance(2_000);
    expect(await report()).toMatchObject({ running: true, placementEpoch: 2n });
    expect(starts()).toBe(1);
    await expect(leader.apply(a, 1n)).rejects.toMatchObject({ reason: 'STALE_PLACEMENT' });
  });

  it('waits while the hypervisor is down, and holds as soon as it is back', async () => {
    a.host.killDaemon();
    await leader.apply(a, 1n);
    await bed.clock.advance(20_000);
    expect(bed.runningOn()).toEqual([]);
    a.host.startDaemon();
    await bed.clock.advance(10_000);
    expect(bed.runningOn()).toEqual(['a']);
  });
});

describe('a VM that does not start', () => {
  it('keeps its reason while the next try is waited for', async () => {
    const refusing = (real: Hypervisor): Hypervisor =>
      overriding(real, { start: () => Promise.reject(new HypervisorError('refused', 'the storage is not there')) });
    const b = await bed.node('b', { hypervisor: refusing });
    await bed.record({ node: 'b', epoch: 1n });
    await leader.apply(b, 1n, VmDesired.RUNNING, spec({ maxRestart: 20 }));
    await bed.clock.advance(50);
    for (let look = 0; look < 100; look += 1) {
      expect((await report(b))?.status).toMatchObject({ state: VmState.ERROR, reason: 'HYPERVISOR_REFUSED' });
    }
  });
});

describe('a VM whose storage is locked by a copy elsewhere', () => {
  it('waits for the lock with a reason of its own, uses up no restart, and starts when the lock is gone', async () => {
    let locked = true;
    const refusing = (real: Hypervisor): Hypervisor =>
      overriding(real, {
        start: (uuid, limit) =>
          locked ? Promise.reject(new HypervisorError('locked', 'Failed to get "write" lock')) : real.start(uuid, limit),
      });
    const b = await bed.node('b', { hypervisor: refusing });
    await bed.record({ node: 'b', epoch: 1n });
    await leader.apply(b, 1n, VmDesired.RUNNING, spec({ maxRestart: 1 }));
    for (let look = 0; look < 100; look += 1) {
      await bed.clock.advance(3_000);
      expect((await report(b))?.status).toMatchObject({ state: VmState.STARTING, reason: 'STORAGE_LOCKED' });
    }
    locked = false;
    await bed.clock.advance(20_000);
    expect(bed.runningOn()).toEqual(['b']);
    expect((await report(b))?.status).toMatchObject({ state: VmState.RUNNING, reason: '' });
  });
});

describe('StopVm', () => {
  it('answers when the guest stands, and the guest is not started again', async () => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    expect(await leader.stop(a, 1n)).toMatchObject({ forced: false, vm: { running: false } });
    await bed.clock.advance(60_000);
    expect(bed.runningOn()).toEqual([]);
  });

  it('forces at once where no time is given', async () => {
    await leader.apply(a, 1n, VmDesired.RUNNING, spec({ simulated: "shutdown='ignored'" }));
    await bed.clock.advance(2_000);
    expect(await leader.stop(a, 1n, { limitS: 0 })).toMatchObject({ forced: true, vm: { running: false } });
  });

  it('of a cold move is giving the copy up: nothing starts it here again under this epoch', async () => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    await leader.stop(a, 1n, { migrationId: 'cold-1' });
    expect(a.host.guests()).toEqual([]);
    expect(await report()).toBeUndefined();
    await expect(leader.apply(a, 1n)).rejects.toMatchObject({ reason: 'STALE_PLACEMENT' });
  });
});

describe('a guest that ends by itself', () => {
  it('is started again once, by the record, and then left to others with a reason', async () => {
    await leader.apply(a, 1n, VmDesired.RUNNING, spec({ maxRestart: 1 }));
    await bed.clock.advance(2_000);
    a.host.crashGuest(VM);
    await bed.clock.advance(1_000);
    expect((await report())?.status?.state).toBe(VmState.CRASHED);
    await bed.clock.advance(10_000);
    expect(bed.runningOn()).toEqual(['a']);
    a.host.crashGuest(VM);
    await bed.clock.advance(120_000);
    expect(bed.runningOn()).toEqual([]);
    expect((await report())?.status).toMatchObject({ state: VmState.ERROR, reason: 'RESTARTS_EXHAUSTED' });
  });

  it('before anybody looked is not started again without end', async () => {
    let starts = 0;
    await a.kill();
    await a.restart({
      hypervisor: (real) =>
        overriding(real, {
          start: async (uuid, limit) => {
            starts += 1;
            await real.start(uuid, limit);
            a.host.crashGuest(uuid);
          },
        }),
    });
    await bed.clock.advance(2_000);
    await leader.apply(a, 1n, VmDesired.RUNNING, spec({ maxRestart: 2 }));
    await bed.clock.advance(120_000);
    expect(starts).toBe(3);
  });

  it('waits longer before each restart, and begins anew once it ran for long', async () => {
    await leader.apply(a, 1n, VmDesired.RUNNING, spec({ maxRestart: 9 }));
    await bed.clock.advance(2_000);
    const { restartBackoffMs, stableAfterMs } = DEFAULT_TIMING;
    for (const factor of [1, 2, 4]) {
      a.host.crashGuest(VM);
      await bed.clock.advance(factor * restartBackoffMs - 1_000);
      expect(bed.runningOn()).toEqual([]);
      await bed.clock.advance(2_000);
      expect(bed.runningOn()).toEqual(['a']);
    }
    await bed.clock.advance(stableAfterMs + 10_000);
    a.host.crashGuest(VM);
    await bed.clock.advance(restartBackoffMs + 1_000);
    expect(bed.runningOn()).toEqual(['a']);
  });

  it.each([
    ['names another node', { node: 'b', epoch: 2n }],
    ['names another epoch', { node: 'a', epoch: 2n }],
    ['has a migration open', { node: 'a', epoch: 1n, migrationId: 'm' }],
  ])('is not started where its record %s', async (_what, placement) => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    await bed.record(placement);
    a.host.crashGuest(VM);
    await bed.clock.advance(60_000);
    expect(bed.runningOn()).toEqual([]);
  });

  it('is not started while the agent was told of an open migration', async () => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    await leader.prepareSource(a);
    a.host.crashGuest(VM);
    await bed.clock.advance(60_000);
    expect(bed.runningOn()).toEqual([]);
  });
});

describe('an agent that starts', () => {
  it('touches no running VM', async () => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    const boot = a.host.guest(VM)?.memory().boot;
    await a.kill();
    await bed.clock.advance(30_000);
    await a.restart();
    await bed.clock.advance(30_000);
    expect(a.host.guest(VM)?.memory().boot).toBe(boot);
    await bed.run(a.agent.stop());
    expect(bed.runningOn()).toEqual(['a']);
  });

  it('after a boot starts what its record says belongs here', async () => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    await a.kill();
    a.host.losePower();
    a.host.gainPower();
    a.state.reboot();
    await a.restart();
    await bed.clock.advance(10_000);
    expect(bed.runningOn()).toEqual(['a']);
  });

  it.each([
    ['was placed elsewhere meanwhile', { node: 'b', epoch: 2n }],
    ['has a migration open', { node: 'a', epoch: 1n, migrationId: 'm' }],
  ])('starts nothing whose record %s', async (_what, placement) => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    await a.kill();
    a.host.losePower();
    a.host.gainPower();
    await bed.record(placement);
    await a.restart();
    await bed.clock.advance(60_000);
    expect(bed.runningOn()).toEqual([]);
  });

  it('starts nothing before it could join', async () => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    await a.kill();
    a.host.losePower();
    a.host.gainPower();
    await a.restart({
      store: (real) => ({
        get: () => Promise.reject(new Error('no server')),
        list: () => Promise.reject(new Error('no server')),
        txn: () => Promise.reject(new Error('no server')),
        acquire: () => Promise.reject(new Error('no server')),
        watch: (prefix, options) => real.watch(prefix, options),
        members: () => Promise.reject(new Error('no server')),
      }),
    });
    await bed.clock.advance(120_000);
    expect(bed.runningOn()).toEqual([]);
  });

  it('destroys a copy that its record has replaced elsewhere', async () => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    await a.kill();
    await bed.record({ node: 'b', epoch: 2n });
    await a.restart();
    await bed.clock.advance(10_000);
    expect(a.host.guests()).toEqual([]);
    expect(await report()).toBeUndefined();
  });

  it('destroys such a copy also while the VM moves on between two others', async () => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    await a.kill();
    await bed.record({ node: 'b', epoch: 2n, migrationId: 'm' });
    await a.restart();
    await bed.clock.advance(10_000);
    expect(a.host.guests()).toEqual([]);
  });

  it.each([
    [2n, 'removes a copy of a VM that went on elsewhere and was undefined there', 0],
    [1n, 'keeps one that is as new as the last that anybody had of an undefined VM', 1],
  ])('with last epoch %d %s', async (lastEpoch, _what, left) => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    await a.kill();
    await bed.undefine(lastEpoch);
    await a.restart();
    await bed.clock.advance(10_000);
    expect(a.host.guests()).toHaveLength(left);
  });

  it('removes it also where it was the source of a move that was closed while its host was off', async () => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    await leader.prepareSource(a);
    await a.kill();
    a.host.losePower();
    a.host.gainPower();
    await bed.undefine(2n);
    await a.restart();
    await bed.clock.advance(10_000);
    expect(await bed.run(a.host.hypervisor().list({ deadlineMs: 1_000 }))).toEqual([]);
  });
});

describe('a domain that is not ours', () => {
  it('is reported as unmanaged and left alone', async () => {
    const hypervisor = a.host.hypervisor();
    await bed.run(hypervisor.define(domainXml({ name: 'stranger' }), { deadlineMs: 1_000 }));
    await bed.run(hypervisor.start(VM, { deadlineMs: 1_000 }));
    await bed.clock.advance(10_000);
    expect(await report()).toMatchObject({ running: true, placementEpoch: 0n, status: { state: VmState.UNMANAGED } });
    await leader.apply(a, 1n, VmDesired.STOPPED);
    await bed.clock.advance(60_000);
    expect(bed.runningOn()).toEqual(['a']);
    await expect(leader.stop(a, 1n)).rejects.toMatchObject({ reason: 'DOMAIN_NOT_OURS' });
  });

  it('of a higher epoch than ordered is kept and reported', async () => {
    const hypervisor = a.host.hypervisor();
    await bed.run(hypervisor.define(withPlacementEpoch(domainXml(), 9n), { deadlineMs: 1_000 }));
    await bed.run(hypervisor.start(VM, { deadlineMs: 1_000 }));
    await expect(leader.apply(a, 2n)).rejects.toMatchObject({ reason: 'STALE_PLACEMENT' });
    expect(bed.runningOn()).toEqual(['a']);
  });
});

describe('RemoveVm', () => {
  it('is refused while it runs, removes what stands, and may be repeated', async () => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    const remove = (): Promise<unknown> => leader.remove(a, 1n);
    await expect(remove()).rejects.toMatchObject({ reason: 'VM_RUNNING' });
    await leader.stop(a, 1n);
    await remove();
    await remove();
    expect(await report()).toBeUndefined();
    await bed.clock.advance(60_000);
    expect(await report()).toBeUndefined();
  });
});
