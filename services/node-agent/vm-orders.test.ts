// SPDX-License-Identifier: Apache-2.0
import { MigrationRole, VmDesired } from '@lockstep/sdk/v1';
import { beforeEach, describe, expect, it } from 'vitest';
import { spec, TestBed, type TestNode } from './test-bed.js';
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

describe('what a node was told last', () => {
  it('is not undone by a stop or removal of an earlier placement that comes late, while nothing is defined yet', async () => {
    a.host.setDiskFull(true);
    await bed.record({ node: 'a', epoch: 2n });
    await leader.apply(a, 2n);
    await expect(leader.stop(a, 1n, { limitS: 0 })).rejects.toMatchObject({ reason: 'STALE_PLACEMENT' });
    await expect(leader.remove(a, 1n)).rejects.toMatchObject({ reason: 'STALE_PLACEMENT' });
    a.host.setDiskFull(false);
    await bed.clock.advance(20_000);
    expect(bed.runningOn()).toEqual(['a']);
  });

  it('keeps its placement epoch, whatever a stop finds defined', async () => {
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    await leader.stop(a, 1n, { limitS: 0 });
    await bed.record({ node: 'a', epoch: 1n }, { desired: VmDesired.STOPPED });
    await a.kill();
    await a.restart();
    await bed.clock.advance(2_000);
    a.host.setDiskFull(true);
    await leader.apply(a, 2n, VmDesired.STOPPED);
    await leader.stop(a, 2n, { limitS: 0 });
    a.host.setDiskFull(false);
    await bed.clock.advance(20_000);
    expect(await leader.seize(a, MigrationRole.SOURCE)).toMatchObject({ running: false, placementEpoch: 2n });
  });

  it('is not undone by a stop that comes after a later wish for the same placement to run', async () => {
    await leader.apply(a, 1n, VmDesired.RUNNING, spec(), 1n);
    await bed.clock.advance(2_000);
    await leader.apply(a, 1n, VmDesired.RUNNING, spec(), 4n);
    await expect(leader.stop(a, 1n, { limitS: 0, sequence: 3n })).rejects.toMatchObject({ reason: 'STALE_ORDER' });
    expect(bed.runningOn()).toEqual(['a']);
    await leader.apply(a, 1n, VmDesired.STOPPED, spec(), 6n);
    // A wish to stop that was told meanwhile is no reason against being quick about it.
    await leader.stop(a, 1n, { limitS: 0, sequence: 5n });
    expect(bed.runningOn()).toEqual([]);
  });

  it('stays prepared although an order from before the move, to give the VM up, comes late', async () => {
    const b = await bed.node('b');
    await leader.apply(a, 1n);
    await bed.clock.advance(2_000);
    await leader.prepareTarget(b, await leader.prepareSource(a));
    await expect(leader.giveUp(b, 1n)).rejects.toMatchObject({ reason: 'VM_LOCKED' });
    expect(b.host.guests()).toHaveLength(1);
  });
});
