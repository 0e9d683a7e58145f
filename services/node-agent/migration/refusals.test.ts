// SPDX-License-Identifier: Apache-2.0
import { MigrationRole, SourceFact, TargetFact } from '@lockstep/sdk/v1';
import { HypervisorError, type IncomingMigration } from '../../platform/hypervisor/hypervisor.js';
import { beforeEach, describe, expect, it } from 'vitest';
import { withPlacementEpoch } from '../../core/domain-xml/epoch.js';
import { domainXml, overriding, TestBed, VM, type TestNode } from '../test-bed.js';
import { endCookie, MIGRATION, SOURCE_EPOCH, TestLeader } from '../test-leader.js';

const { SOURCE, TARGET } = MigrationRole;

let bed: TestBed;
let a: TestNode;
let b: TestNode;
let leader: TestLeader;

beforeEach(async () => {
  bed = new TestBed();
  a = await bed.node('a');
  b = await bed.node('b', { memoryBytes: 4n * 2n ** 30n });
  leader = new TestLeader(bed);
  await bed.record({ node: 'a', epoch: SOURCE_EPOCH });
  await leader.apply(a, SOURCE_EPOCH);
  await bed.clock.advance(5_000);
});

describe('a vote', () => {
  it('is refused by the node that is the source itself: the guest runs on', async () => {
    const begun = await leader.prepareSource(a);
    const vote = await leader.prepareTarget(a, begun);
    expect(vote).toMatchObject({ granted: false, refusals: [{ reason: 'SAME_NODE' }] });
    await leader.abort(a, SOURCE);
    await bed.clock.advance(20_000);
    expect(bed.runningOn()).toEqual(['a']);
  });

  it('is refused by a node that has the VM, whatever the order says', async () => {
    const begun = await leader.prepareSource(a);
    leader.migrationId = 'another';
    const vote = await leader.prepareTarget(a, begun);
    expect(vote.granted).toBe(false);
    expect(vote.refusals[0]?.reason).toBe('VM_LOCKED');
    leader.migrationId = MIGRATION;
    await leader.abort(a, SOURCE);
    leader.migrationId = 'another';
    expect((await leader.prepareTarget(a, begun)).refusals[0]?.reason).toBe('SAME_NODE');
    expect(bed.runningOn()).toEqual(['a']);
  });

  it('names the figures where the memory does not fit', async () => {
    const begun = await leader.prepareSource(a);
    const big = { ...begun, domainXml: begun.domainXml.replace("<memory unit='GiB'>1<", "<memory unit='GiB'>5<") };
    const vote = await leader.prepareTarget(b, big);
    expect(vote.granted).toBe(false);
    expect(vote.refusals[0]?.reason).toBe('NO_FIT');
    expect(vote.refusals[0]?.detail).toMatch(/needs 5120 MiB of memory, has 4096 MiB/);
    expect(b.host.guests()).toEqual([]);
  });

  it('is not given twice: a repeated Prepare gets the first answer', async () => {
    const begun = await leader.prepareSource(a);
    expect(await leader.prepareSource(a)).toEqual(begun);
    const vote = await leader.prepareTarget(b, begun);
    expect(await leader.prepareTarget(b, begun)).toEqual(vote);
    expect(b.host.guests()).toHaveLength(1);
  });

  it('is gone after an abort that came before it, at either end', async () => {
    expect((await leader.abort(b, TARGET)).targetFact).toBe(TargetFact.NEVER);
    expect((await leader.abort(a, SOURCE)).sourceFact).toBe(SourceFact.RUNNING);
    const late = await leader.prepareSource(a);
    expect(late).toMatchObject({ granted: false, refusals: [{ reason: 'PREPARATION_GONE' }] });

    leader.migrationId = 'second';
    leader.targetEpoch = 3n;
    const begun = await leader.prepareSource(a);
    expect(begun.granted).toBe(true);
    leader.migrationId = MIGRATION;
    leader.targetEpoch = 2n;
    expect(await leader.prepareTarget(b, begun)).toMatchObject({
      granted: false,
      refusals: [{ reason: 'PREPARATION_GONE' }],
    });
    expect(b.host.guests()).toEqual([]);
  });

  it('is gone after a restart of its agent: no second guest is built', async () => {
    const begun = await leader.prepareSource(a);
    await leader.prepareTarget(b, begun);
    await b.kill();
    await b.restart();
    await bed.clock.advance(2_000);
    expect(await leader.prepareTarget(b, begun)).toMatchObject({
      granted: false,
      refusals: [{ reason: 'PREPARATION_GONE' }],
    });
    expect(b.host.guests()).toEqual([]);
  });

  it('is given where an earlier one was closed without a word to this node, and not while that one is open', async () => {
    await bed.record({ node: 'a', epoch: SOURCE_EPOCH, migrationId: MIGRATION });
    await leader.prepareTarget(b, await leader.prepareSource(a));
    await b.kill();
    b.host.losePower();
    b.host.gainPower();
    await b.restart();
    await bed.clock.advance(2_000);
    await leader.abort(a, SOURCE);

    leader.migrationId = 'second';
    leader.targetEpoch = 3n;
    const begun = await leader.prepareSource(a);
    expect((await leader.prepareTarget(b, begun)).refusals[0]?.reason).toBe('VM_LOCKED');
    await bed.record({ node: 'a', epoch: SOURCE_EPOCH, migrationId: 'second' });
    expect(await leader.prepareTarget(b, begun)).toMatchObject({ granted: true });
  });

  it('is forgotten, with what is left of its guest, where the VM was undefined without a word to this node', async () => {
    await bed.record({ node: 'a', epoch: SOURCE_EPOCH, migrationId: MIGRATION });
    await leader.prepareTarget(b, await leader.prepareSource(a));
    await b.kill();
    b.host.losePower();
    b.host.gainPower();
    const left = b.host.hypervisor();
    await bed.run(left.define(withPlacementEpoch(domainXml(), leader.targetEpoch), { deadlineMs: 5_000 }));
    await b.restart();
    await bed.clock.advance(2_000);
    await leader.abort(a, SOURCE);
    await bed.undefine(leader.targetEpoch);
    await bed.clock.advance(90_000);
    expect(await bed.run(left.list({ deadlineMs: 5_000 }))).toEqual([]);
  });

  it('lapses by itself where no leader comes back, and cannot be had again', async () => {
    const begun = await leader.prepareSource(a);
    await leader.prepareTarget(b, begun);
    await bed.clock.advance(50_000);
    expect(b.host.guests()).toHaveLength(1);
    await bed.clock.advance(15_000);
    expect(b.host.guests()).toEqual([]);
    expect((await leader.seize(b, TARGET)).targetFact).toBe(TargetFact.NEVER);
    await expect(leader.commit(b, TARGET)).rejects.toMatchObject({ reason: 'PREPARATION_GONE' });
    expect((await leader.abort(a, SOURCE)).sourceFact).toBe(SourceFact.RUNNING);
    expect(bed.runningOn()).toEqual(['a']);
  });
});

describe('a transfer', () => {
  it('outlives the vote while its leader watches the target: a long transfer is not cut off', async () => {
    bed.network.limit('a', 'b', 8_000_000);
    const leaves = new AbortController();
    const watching = leader.watch(b, leaves.signal);
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    const messages = await leader.transfer(a, vote);
    expect(bed.clock.nowMs()).toBeGreaterThan(90_000);
    expect(messages.length).toBeGreaterThan(100);
    await leader.commit(b, TARGET, endCookie(messages));
    expect(bed.runningOn()).toEqual(['b']);
    leaves.abort();
    await bed.run(watching);
  });

  it('goes on when its stream is left, and tells its end again to whoever attaches', async () => {
    bed.network.limit('a', 'b', 50_000_000);
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    const leave = new AbortController();
    const stream = leader.collect(a, vote, { signal: leave.signal });
    await bed.clock.advance(2_000);
    leave.abort();
    const seen = await bed.run(stream);
    expect(seen.at(-1)?.event?.$case).toBe('progress');
    const first = endCookie(await leader.transfer(a, vote));
    expect(endCookie(await leader.transfer(a, vote, { attachOnly: true }))).toEqual(first);
  });

  it('is not begun by attaching, nor without a preparation', async () => {
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    await expect(leader.transfer(a, vote, { attachOnly: true })).rejects.toMatchObject({ reason: 'TRANSFER_NOT_STARTED' });
    leader.migrationId = 'another';
    await expect(leader.transfer(a, vote)).rejects.toMatchObject({ reason: 'TRANSFER_NOT_STARTED' });
  });

  it('tells its end to the highest leader alone', async () => {
    bed.network.limit('a', 'b', 50_000_000);
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    const old = leader.collect(a, vote);
    old.catch(() => undefined);
    await bed.clock.advance(1_000);
    bed.leaderEpoch = 2n;
    const successor = new TestLeader(bed);
    expect((await successor.seize(a, SOURCE)).sourceFact).toBe(SourceFact.TRANSFERRING);
    await bed.clock.advance(60_000);
    await expect(old).rejects.toMatchObject({ reason: 'STALE_EPOCH' });
    expect((await successor.seize(a, SOURCE)).sourceFact).toBe(SourceFact.UNTOLD);
    expect((await successor.seize(a, SOURCE)).sourceFact).toBe(SourceFact.STANDS);
  });
});

describe('a commit', () => {
  it('is answered again when it is repeated, at either end', async () => {
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    const cookie = endCookie(await leader.transfer(a, vote));
    const first = await leader.commit(b, TARGET, cookie);
    const again = await leader.commit(b, TARGET, cookie);
    expect(again.cookie).toEqual(first.cookie);
    expect(again.facts).toMatchObject({ targetFact: TargetFact.RUNNING });
    for (let times = 0; times < 2; times++) {
      const { facts } = await leader.commit(a, SOURCE, first.cookie);
      expect(facts).toMatchObject({ sourceFact: SourceFact.LOST });
    }
    expect(bed.runningOn()).toEqual(['b']);
  });

  it('never destroys an old copy that runs', async () => {
    await leader.prepareTarget(b, await leader.prepareSource(a));
    await expect(leader.commit(a, SOURCE)).rejects.toMatchObject({ reason: 'VM_RUNNING' });
    expect(bed.runningOn()).toEqual(['a']);
  });

  it('that failed inside Finish leaves the word that the guest may have run, over a restart too', async () => {
    await b.kill();
    await b.restart({
      hypervisor: (real) =>
        overriding(real, {
          openIncoming: async (uuid, limit) =>
            overriding(await real.openIncoming(uuid, limit), {
              finish: () => {
                b.host.crashGuest(VM);
                return Promise.reject(new HypervisorError('failed', 'QEMU ended'));
              },
            }),
        }),
    });
    await bed.clock.advance(2_000);
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    const cookie = endCookie(await leader.transfer(a, vote));
    await expect(leader.commit(b, TARGET, cookie)).rejects.toMatchObject({ reason: 'HYPERVISOR_FAILED' });
    expect((await leader.seize(b, TARGET)).targetFact).toBe(TargetFact.MAYBE);
    expect((await leader.abort(b, TARGET)).targetFact).toBe(TargetFact.MAYBE);
    await b.kill();
    await b.restart();
    await bed.clock.advance(2_000);
    expect((await leader.seize(b, TARGET)).targetFact).toBe(TargetFact.MAYBE);
    expect((await leader.seize(a, SOURCE)).sourceFact).toBe(SourceFact.STANDS);
  });

  it('writes nothing durable on the target before Finish', async () => {
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    const cookie = endCookie(await leader.transfer(a, vote));
    const save = b.state.save.bind(b.state);
    let saves = 0;
    b.state.save = (document) => {
      saves += bed.runningOn().length === 0 ? 1 : 0;
      return save(document);
    };
    await leader.commit(b, TARGET, cookie);
    expect(saves).toBe(0);
  });
});

describe('an abort', () => {
  it('after the commit touches no running guest and says that it runs', async () => {
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    await leader.commit(b, TARGET, endCookie(await leader.transfer(a, vote)));
    const facts = await leader.abort(b, TARGET);
    expect(facts).toMatchObject({ targetFact: TargetFact.RUNNING, running: true, floor: 0n });
    expect(bed.runningOn()).toEqual(['b']);
  });

  it('of a transfer under way lets the guest run on, with its memory', async () => {
    bed.network.limit('a', 'b', 20_000_000);
    const boot = a.host.guest(VM)?.memory().boot;
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    const stream = leader.collect(a, vote);
    await bed.clock.advance(3_000);
    expect(await leader.abort(b, TARGET)).toMatchObject({ targetFact: TargetFact.NEVER, floor: 2n });
    expect(await leader.abort(a, SOURCE)).toMatchObject({ sourceFact: SourceFact.RUNNING, running: true });
    expect((await bed.run(stream)).at(-1)?.event?.$case).toBe('failed');
    await bed.clock.advance(30_000);
    expect(bed.runningOn()).toEqual(['a']);
    expect(a.host.guest(VM)?.memory().boot).toBe(boot);
    expect(b.host.guests()).toEqual([]);
  });

  it('after the end of the transfer resumes the guest that stands', async () => {
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    await leader.transfer(a, vote);
    expect(bed.runningOn()).toEqual([]);
    await leader.abort(b, TARGET);
    expect(await leader.abort(a, SOURCE)).toMatchObject({ sourceFact: SourceFact.RUNNING, running: true });
    expect(bed.runningOn()).toEqual(['a']);
  });

  it('that comes late, of a migration that is closed, leaves the guest that stands for the next one', async () => {
    const cookie = await transferAfterAbort();
    // While its job stands the hypervisor would refuse to resume it; the job does not outlive the hypervisor's daemon.
    a.host.killDaemon();
    a.host.startDaemon();
    await bed.clock.advance(10_000);
    expect(bed.runningOn()).toEqual([]);

    leader.migrationId = MIGRATION;
    await leader.abort(a, SOURCE).catch(() => undefined);
    expect(bed.runningOn()).toEqual([]);

    leader.migrationId = 'second';
    await leader.commit(b, TARGET, cookie);
    expect(bed.runningOn()).toEqual(['b']);
  });

  it('that a Finish comes into leaves the guest running, and the next placement here takes it over', async () => {
    let incoming: IncomingMigration | undefined;
    let cookie: Uint8Array = Buffer.alloc(0);
    await b.kill();
    await b.restart({
      hypervisor: (real) =>
        overriding(real, { openIncoming: async (uuid, limit) => (incoming = await real.openIncoming(uuid, limit)) }),
      points: async (point) => {
        if (point === 'agent/abort-target/floored') await incoming?.finish({ cookie }, { deadlineMs: 5_000 });
      },
    });
    await bed.clock.advance(2_000);
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    cookie = endCookie(await leader.transfer(a, vote));
    await expect(leader.abort(b, TARGET)).rejects.toMatchObject({ reason: 'VM_RUNNING' });
    expect(await leader.seize(b, TARGET)).toMatchObject({ targetFact: TargetFact.RUNNING, floor: 2n });
    await leader.commit(a, SOURCE);
    const boot = b.host.guest(VM)?.memory().boot;

    await expect(leader.apply(b, 2n)).rejects.toMatchObject({ reason: 'STALE_PLACEMENT' });
    await leader.apply(b, 3n);
    await bed.clock.advance(5_000);
    expect(await leader.seize(b, TARGET)).toMatchObject({ running: true, placementEpoch: 3n, armedMigrationId: '' });
    expect(b.host.guest(VM)?.memory().boot).toBe(boot);
    b.host.crashGuest(VM);
    await bed.record({ node: 'b', epoch: 3n });
    await bed.clock.advance(60_000);
    expect(bed.runningOn()).toEqual(['b']);
    await leader.stop(b, 3n);
    expect(bed.runningOn()).toEqual([]);
  });

  it('leaves a guest paused that its user had paused', async () => {
    a.host.pauseGuest(VM);
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    await leader.transfer(a, vote);
    await leader.abort(b, TARGET);
    expect(await leader.abort(a, SOURCE)).toMatchObject({ sourceFact: SourceFact.RUNNING, running: false });
    expect(a.host.guest(VM)?.state).toEqual({ state: 'paused', reason: 'user' });
  });
});

describe('giving up', () => {
  it('is refused while vCPUs run, and is durable where the guest stands', async () => {
    await expect(leader.giveUp(a, SOURCE_EPOCH)).rejects.toMatchObject({ reason: 'VM_RUNNING' });
    const vote = await leader.prepareTarget(b, await leader.prepareSource(a));
    await leader.transfer(a, vote);
    expect(await leader.giveUp(b, 2n)).toMatchObject({ floor: 2n });
    expect(await leader.giveUp(a, 2n)).toMatchObject({ floor: 2n, sourceFact: SourceFact.LOST });
    expect([...a.host.guests(), ...b.host.guests()]).toEqual([]);
    await a.kill();
    await a.restart();
    await bed.clock.advance(2_000);
    await expect(leader.apply(a, SOURCE_EPOCH)).rejects.toMatchObject({ reason: 'STALE_PLACEMENT' });
    await leader.apply(a, 3n);
    await bed.clock.advance(5_000);
    expect(bed.runningOn()).toEqual(['a']);
  });

  it('of a migration that is closed leaves the next one alone, at either end', async () => {
    const cookie = await transferAfterAbort();

    for (const late of [a, b]) {
      await expect(leader.giveUp(late, 2n, MIGRATION)).rejects.toMatchObject({ reason: 'VM_LOCKED' });
    }
    expect([...a.host.guests(), ...b.host.guests()]).toHaveLength(2);
    await leader.commit(b, TARGET, cookie);
    expect(bed.runningOn()).toEqual(['b']);
  });
});

/** A migration is undone, and of a second one all memory was sent. Returns what its Commit(target) takes. */
async function transferAfterAbort(): Promise<Uint8Array> {
  await leader.prepareTarget(b, await leader.prepareSource(a));
  await leader.abort(b, TARGET);
  await leader.abort(a, SOURCE);
  leader.migrationId = 'second';
  leader.targetEpoch = 3n;
  return endCookie(await leader.transfer(a, await leader.prepareTarget(b, await leader.prepareSource(a))));
}
