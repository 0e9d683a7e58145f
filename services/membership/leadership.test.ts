// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { keys } from '../core/records/keys.js';
import { createVirtualClock } from '../platform/clock/virtual.js';
import { createMemoryLogger } from '../platform/log/memory.js';
import { createSeededRandom } from '../platform/random/seeded.js';
import { storeOn } from '../platform/store/assemble.js';
import { createEmbeddedStore } from '../platform/store/embedded.js';
import { check, createLeadership, type Leadership, type LeadershipOptions, type Term } from './leadership.js';
import { cuttable } from './test-world.js';

const LOCK = keys.leader('scheduler');

function untilAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener('abort', () => {
      resolve();
    });
  });
}

function createWorld() {
  const clock = createVirtualClock();
  const random = createSeededRandom({ seed: 'leadership', clock });
  const server = createEmbeddedStore({ clock, random });
  const replica = (name: string, more: Partial<LeadershipOptions> = {}) => {
    const terms: Term[] = [];
    const { driver, cut } = cuttable(server.driver(name));
    const leadership = createLeadership({
      env: { clock, random, log: createMemoryLogger(() => clock.nowMs()), store: storeOn(driver, { clock, random }) },
      role: 'scheduler',
      name,
      address: `${name}:7702`,
      lead: async (term) => {
        terms.push(term);
        await untilAborted(term.ended);
      },
      ...more,
    });
    return { leadership, terms, cut };
  };
  /** Time has to pass for a close whose acquisition or release is under way. */
  const close = async (...leaderships: Leadership[]) => {
    const closing = Promise.all(leaderships.map((leadership) => leadership.close()));
    await clock.advance(30_000);
    await closing;
  };
  return { clock, server, replica, close };
}

describe('a leadership', () => {
  it('is held by one replica, and the other knows by whom', async () => {
    const { clock, replica, close } = createWorld();
    const a = replica('a');
    await clock.advance(100);
    const b = replica('b');
    await clock.advance(60_000);

    expect(a.leadership.leader()).toMatchObject({ kind: 'self', epoch: 1n, session: a.terms[0]?.session });
    expect(b.leadership.leader()).toEqual({ kind: 'other', name: 'a', address: 'a:7702', epoch: 1n });
    expect(b.terms).toHaveLength(0);
    await close(a.leadership, b.leadership);
  });

  it('passes on at once, with the next epoch, when its leader closes', async () => {
    const { clock, replica, close } = createWorld();
    const a = replica('a');
    await clock.advance(100);
    const b = replica('b');
    await clock.advance(7_000);

    const closing = a.leadership.close();
    await clock.advance(200);
    await closing;

    expect(a.terms[0]?.ended.aborted).toBe(true);
    // Whoever is still being served is told so in words of the API.
    expect(a.terms[0]?.ended.reason).toMatchObject({ reason: 'STOPPING' });
    expect(a.leadership.leader().kind).not.toBe('self');
    expect(b.leadership.leader()).toMatchObject({ kind: 'self', epoch: 2n });
    await close(b.leadership);
  });

  it('ends for a leader that is cut off before anybody else can begin', async () => {
    const { clock, server, replica, close } = createWorld();
    const a = replica('a');
    await clock.advance(100);
    const b = replica('b');
    await clock.advance(20_000);

    a.cut(true);
    const [first] = a.terms;
    let endedAtMs = Infinity;
    first?.ended.addEventListener('abort', () => {
      endedAtMs = clock.nowMs();
    });
    while (b.terms.length === 0 && clock.nowMs() < 120_000) await clock.advance(100);

    expect(b.leadership.leader()).toMatchObject({ kind: 'self', epoch: 2n });
    expect(endedAtMs).toBeLessThan(clock.nowMs());
    expect(first?.ended.reason).toMatchObject({ reason: 'NOT_LEADER' });
    expect(a.leadership.leader().kind).not.toBe('self');

    if (first === undefined) throw new Error('no first term');
    const late = await server.store('a').txn([check(first), { op: 'set', key: 'x', value: 'late' }]);
    expect(late.outcome).toBe('conflict');

    a.cut(false);
    await clock.advance(30_000);
    expect(a.leadership.leader()).toMatchObject({ kind: 'other', name: 'b', epoch: 2n });
    await close(a.leadership, b.leadership);
  });

  it('passes on when the store learns that its leader\'s host failed, without waiting for the TTL; the deposed one can write nothing', async () => {
    const { clock, server, replica, close } = createWorld();
    const a = replica('a');
    await clock.advance(100);
    const b = replica('b');
    await clock.advance(10_000);
    const [before] = a.terms;
    if (before === undefined) throw new Error('a does not lead');
    a.cut(true);
    server.failNode('a');
    await clock.advance(4_000);
    expect(b.leadership.leader()).toMatchObject({ kind: 'self', epoch: 2n });
    const late = await server.store('a').txn([check(before), { op: 'set', key: 'x', value: 'late' }]);
    expect(late.outcome).toBe('conflict');
    a.cut(false);
    server.healNode('a');
    await close(a.leadership, b.leadership);
  });

  it('survives an outage of the store: the epoch grows and somebody leads again', async () => {
    const { clock, replica, close } = createWorld();
    const a = replica('a');
    const b = replica('b');
    await clock.advance(5_000);
    a.cut(true);
    b.cut(true);
    await clock.advance(300_000);
    expect([a, b].map(({ leadership }) => leadership.leader().kind)).not.toContain('self');

    a.cut(false);
    b.cut(false);
    await clock.advance(60_000);
    const leaders = [a, b].filter(({ leadership }) => leadership.leader().kind === 'self');
    expect(leaders).toHaveLength(1);
    expect(leaders[0]?.leadership.leader()).toMatchObject({ epoch: 2n });
    await close(a.leadership, b.leadership);
  });

  it('lets its writes through while it lasts', async () => {
    const { clock, server, replica, close } = createWorld();
    const a = replica('a');
    await clock.advance(100);
    const [term] = a.terms;
    if (term === undefined) throw new Error('no term');
    const written = await server.store('a').txn([check(term), { op: 'set', key: 'x', value: 'y' }]);
    expect(written.outcome).toBe('committed');
    await close(a.leadership);
  });

  it('is given up and taken again with the next epoch when leading fails', async () => {
    const { clock, replica, close } = createWorld();
    const epochs: bigint[] = [];
    const a = replica('a', {
      lead: async (term) => {
        epochs.push(term.leaderEpoch);
        if (epochs.length < 4) throw new Error('not today');
        await untilAborted(term.ended);
      },
    });
    await clock.advance(60_000);
    expect(epochs).toEqual([1n, 2n, 3n, 4n]);
    expect(a.leadership.leader()).toMatchObject({ kind: 'self', epoch: 4n });
    await close(a.leadership);
  });

  it("is nobody's while the store still shows a life of this replica that is over", async () => {
    const { clock, replica, close } = createWorld();
    const before = replica('a');
    await clock.advance(100);
    before.cut(true);
    const after = replica('a');
    await clock.advance(2_000);
    expect(after.leadership.leader()).toEqual({ kind: 'none' });
    await clock.advance(60_000);
    expect(after.leadership.leader()).toMatchObject({ kind: 'self', epoch: 2n });
    await close(before.leadership, after.leadership);
  });

  it('waits for the orderly end of the last term, within a bound', async () => {
    const { clock, replica, close } = createWorld();
    let begun = 0;
    const a = replica('a', {
      lead: () => {
        begun += 1;
        return new Promise(() => undefined);
      },
    });
    await clock.advance(5_000);
    a.cut(true);
    await clock.advance(13_000);
    a.cut(false);
    expect(a.leadership.leader().kind).not.toBe('self');
    expect(begun).toBe(1);
    await clock.advance(60_000);
    expect(begun).toBe(2);
    await close(a.leadership);
  });

  it('goes above an epoch that agents have heard, should the store have forgotten it', async () => {
    const { clock, replica, close } = createWorld();
    const a = replica('a');
    await clock.advance(100);
    a.terms[0]?.overtaken(41n);
    expect(a.leadership.leader().kind).not.toBe('self');
    await clock.advance(5_000);
    expect(a.leadership.leader()).toMatchObject({ kind: 'self', epoch: 42n });
    await close(a.leadership);
  });

  it('never begins again at epoch 1 over a record it cannot read', async () => {
    const { clock, server, replica, close } = createWorld();
    await server.store('someone').txn([{ op: 'set', key: LOCK, value: 'not json' }]);
    const a = replica('a');
    await clock.advance(60_000);
    expect(a.terms).toHaveLength(0);
    expect((await server.store('someone').get(LOCK))?.value).toBe('not json');
    await close(a.leadership);
  });

  it('leaves no timer behind when it is closed', async () => {
    const { clock, server, replica, close } = createWorld();
    const a = replica('a');
    const b = replica('b');
    await clock.advance(20_000);
    await close(a.leadership, b.leadership);
    server.close();
    expect(clock.nextDueMs()).toBeUndefined();
  });
});
