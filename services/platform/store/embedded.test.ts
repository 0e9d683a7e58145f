// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { createVirtualClock } from '../clock/virtual.js';
import { createSeededRandom } from '../random/seeded.js';
import { createEmbeddedStore } from './embedded.js';
import { LockHeld, type LeaseOptions } from './store.js';

const LEASE: LeaseOptions = {
  key: 'leaders/fencer',
  name: 'x',
  value: (previous) => `${previous ?? ''}+`,
  ttlMs: 15_000,
  renewEveryMs: 5_000,
  giveUpAfterMs: 12_000,
  lockDelayMs: 1_000,
};

/** Five clients that fight for a lock, hold it for a while and die or release it; what everybody saw, in order. */
async function fight(seed: number): Promise<string[]> {
  const clock = createVirtualClock();
  const random = createSeededRandom({ seed, clock });
  const server = createEmbeddedStore({ clock, random });
  const log: string[] = [];
  const stop = new AbortController();
  const contend = async (name: string): Promise<void> => {
    const store = server.store(name);
    while (!stop.signal.aborted) {
      try {
        const lease = await store.acquire({ ...LEASE, name, tieToNodeHealth: true });
        log.push(`${name} has ${lease.value} at ${String(clock.nowMs())}`);
        await new Promise((resolve) => clock.after(random.next() * 20_000, () => { resolve(undefined); }));
        if (random.next() < 0.5) server.failNode(name);
        else await lease.release();
      } catch (error) {
        if (!(error instanceof LockHeld)) throw error;
        log.push(`${name} sees ${String(error.holder)}`);
      }
    }
  };
  const watching = (async () => {
    for await (const { entries } of server.store('watcher').watch('leaders/', { signal: stop.signal })) {
      log.push(`watch ${entries.map(({ value, session }) => `${value} ${session ?? 'free'}`).join()}`);
    }
  })();
  const clients = Promise.all(['a', 'b', 'c', 'd', 'e'].map(contend));
  await clock.advance(300_000);
  stop.abort();
  await clock.advance(60_000);
  await Promise.all([clients, watching]);
  server.close();
  return log;
}

describe('the embedded store', () => {
  it('does the same with the same seed, and something else with another', async () => {
    const [first, again, other] = [await fight(7), await fight(7), await fight(8)];
    expect(again).toEqual(first);
    expect(other).not.toEqual(first);
    expect(first.filter((line) => line.includes(' has ')).length).toBeGreaterThan(10);
  });

  it('gives every holder a value of its own, one longer than the one before', async () => {
    const held = (await fight(9)).filter((line) => line.includes(' has ')).map((line) => line.split(' ')[2]);
    expect(held).toEqual(held.map((_, place) => '+'.repeat(place + 1)));
  });

  it('hands out copies: changing an entry changes nothing in the store', async () => {
    const clock = createVirtualClock();
    const store = createEmbeddedStore({ clock, random: createSeededRandom({ seed: 1, clock }) }).store('a');
    await store.txn([{ op: 'set', key: 'k', value: '1' }]);
    const entry = await store.get('k');
    if (entry !== undefined) entry.value = 'changed';
    expect(await store.get('k')).toMatchObject({ value: '1' });
  });

  it('remembers deletions for a waiting query, and answers early when it has forgotten', async () => {
    const clock = createVirtualClock();
    const server = createEmbeddedStore({ clock, random: createSeededRandom({ seed: 1, clock }) });
    const store = server.store('a');
    const signal = new AbortController().signal;
    const answered = async (prefix: string, afterIndex: bigint): Promise<number> => {
      const askedAtMs = clock.nowMs();
      let doneAtMs = Number.NaN;
      const query = server.driver('a').list(prefix, {
        consistency: 'default',
        signal,
        wait: { afterIndex, waitMs: 1_000 },
      });
      void query.then(() => {
        doneAtMs = clock.nowMs();
      });
      await clock.advance(1_000);
      await query;
      return doneAtMs - askedAtMs;
    };
    await store.txn([{ op: 'set', key: 'a/1', value: '' }]);
    const { index } = await store.list('a/');
    await store.txn([{ op: 'delete', key: 'a/1' }]);
    expect(await answered('a/', index)).toBe(0);
    expect(await answered('b/', index)).toBe(1_000);
    for (let i = 0; i < 1_100; i++) {
      await store.txn([{ op: 'set', key: 'c', value: '' }]);
      await store.txn([{ op: 'delete', key: 'c' }]);
    }
    expect(await answered('b/', index)).toBe(0);
  });
});
