// SPDX-License-Identifier: Apache-2.0
import { MigrationRole, SourceFact, TargetFact } from '@lockstep/sdk/v1';
import { beforeEach, describe, expect, it } from 'vitest';
import { TestBed, VM, type TestNode } from '../test-bed.js';
import { endCookie, SOURCE_EPOCH, TARGET_EPOCH, TestLeader } from '../test-leader.js';

const { SOURCE, TARGET } = MigrationRole;

describe('a migration in lockstep, step by step', () => {
  let bed: TestBed;
  let a: TestNode;
  let b: TestNode;
  let leader: TestLeader;

  beforeEach(async () => {
    bed = new TestBed();
    a = await bed.node('a');
    b = await bed.node('b');
    leader = new TestLeader(bed);
    await bed.record({ node: 'a', epoch: SOURCE_EPOCH });
    await leader.apply(a, SOURCE_EPOCH);
    await bed.clock.advance(5_000);
    expect(bed.runningOn()).toEqual(['a']);
  });

  it('moves the running guest with its memory, and leaves nothing behind', async () => {
    const boot = a.host.guest(VM)?.memory().boot;
    const begun = await leader.prepareSource(a);
    expect(begun.granted).toBe(true);
    const vote = await leader.prepareTarget(b, begun);
    expect(vote).toMatchObject({ granted: true });
    expect(bed.runningOn()).toEqual(['a']);

    const messages = await leader.transfer(a, vote);
    expect(bed.runningOn()).toEqual([]);
    const committed = await leader.commit(b, TARGET, endCookie(messages));
    expect(bed.runningOn()).toEqual(['b']);
    expect(committed.facts).toMatchObject({ targetFact: TargetFact.RUNNING, placementEpoch: TARGET_EPOCH, running: true });
    expect(committed.outcome?.downtime).toBeDefined();

    const gone = await leader.commit(a, SOURCE, committed.cookie);
    expect(gone.facts).toMatchObject({ sourceFact: SourceFact.LOST, floor: SOURCE_EPOCH });
    expect(a.host.guests()).toEqual([]);
    expect(b.host.guest(VM)?.memory().boot).toBe(boot);
    expect(bed.doubled).toEqual([]);
    await bed.clock.advance(30_000);
    expect(bed.runningOn()).toEqual(['b']);
  });

  it('is undone although the hypervisor was started anew during the transfer', async () => {
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    void leader.collect(a, vote).catch(() => undefined);
    await bed.clock.advance(50);
    a.host.killDaemon();
    await bed.clock.advance(1_000);
    a.host.startDaemon();
    await bed.clock.advance(10_000);

    expect(await leader.abort(b, TARGET)).toMatchObject({ targetFact: TargetFact.NEVER });
    expect(await leader.abort(a, SOURCE)).toMatchObject({ sourceFact: SourceFact.RUNNING });
    expect(bed.runningOn()).toEqual(['a']);
    expect(bed.doubled).toEqual([]);
  });
});
