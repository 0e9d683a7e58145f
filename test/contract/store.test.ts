// SPDX-License-Identifier: Apache-2.0
import { setTimeout as delay } from 'node:timers/promises';
import { afterAll, beforeAll, beforeEach, describe, expect, it, onTestFinished } from 'vitest';
import { systemClock } from '../../services/platform/clock/system.js';
import { systemRandom } from '../../services/platform/random/system.js';
import { storeOn } from '../../services/platform/store/assemble.js';
import { createConsulDriver } from '../../services/platform/store/consul.js';
import type { StoreDriver } from '../../services/platform/store/driver.js';
import { createEmbeddedStore } from '../../services/platform/store/embedded.js';
import { MAX_TXN_OPS, MAX_TXN_VALUE_BYTES } from '../../services/platform/store/limits.js';
import {
  LockHeld,
  StoreError,
  type Lease,
  type LeaseOptions,
  type Listing,
  type Store,
  type TxnOp,
} from '../../services/platform/store/store.js';
import { startConsul, type ConsulServer } from './consul.js';
import { Faults, SLOW_MS, startRelay, withFaults } from './store-faults.js';

const env = { clock: systemClock, random: systemRandom };
const signal = new AbortController().signal;

/** A client with a line of its own to the store, and the faults of that line. */
interface Client {
  store: Store;
  faults: Faults;
}

interface Backend {
  client(name: string): Promise<Client>;
  /** Beside all faults, and free to do what an operator may do by hand. */
  operator: StoreDriver;
  close(): Promise<void>;
}

function openEmbedded(): Promise<Backend> {
  const server = createEmbeddedStore(env);
  return Promise.resolve({
    client: (name) => {
      const faults = new Faults();
      return Promise.resolve({ store: storeOn(withFaults(server.driver(name), faults), env), faults });
    },
    operator: server.driver('operator'),
    close: () => {
      server.close();
      return Promise.resolve();
    },
  });
}

async function openConsul(): Promise<Backend> {
  const server: ConsulServer = await startConsul();
  const closing: (() => Promise<void>)[] = [];
  return {
    client: async () => {
      const faults = new Faults();
      const relay = await startRelay(server.address, faults);
      closing.push(() => relay.close());
      return { store: storeOn(createConsulDriver({ address: relay.address, ...env }), env), faults };
    },
    operator: createConsulDriver({ address: server.address, ...env }),
    close: async () => {
      await Promise.all(closing.map((close) => close()));
      await server.dispose();
    },
  };
}

const TIMES = { ttlMs: 2_000, renewEveryMs: 400, giveUpAfterMs: 1_200, lockDelayMs: 0, retryEveryMs: 100 };

/** A lease whose value is the holder's name and an epoch, one above the epoch found. */
function leaseOf(key: string, name: string, more: Partial<LeaseOptions> = {}): LeaseOptions {
  const value = (previous: string | undefined): string =>
    `${name} ${String(Number(previous?.split(' ')[1] ?? 0) + 1)}`;
  return { key, name, value, ...TIMES, ...more };
}

function kindOfFailure(promise: Promise<unknown>): Promise<string> {
  return promise.then(
    (value) => `no failure but ${String(value)}`,
    (error: unknown) => (error instanceof StoreError ? error.kind : String(error)),
  );
}

/** When the lease ended; fails where it does not end within ten seconds. */
async function ended(lease: Lease): Promise<number> {
  for (let polls = 0; !lease.lost.aborted; polls++) {
    if (polls > 2_000) throw new Error(`the lease on ${lease.key} did not end`);
    await delay(5);
  }
  return performance.now();
}

describe.each([
  { name: 'embedded', open: openEmbedded },
  { name: 'Consul', open: openConsul },
])('the store on $name', ({ open }) => {
  let backend: Backend;
  let folders = 0;
  let folder: string;
  let client: Client;
  let store: Store;
  let faults: Faults;

  beforeAll(async () => {
    backend = await open();
  });
  afterAll(async () => {
    await backend.close();
  });
  beforeEach(async () => {
    folder = `contract/t${String(folders++)}/`;
    client = await backend.client('h1');
    ({ store, faults } = client);
  });

  const put = async (key: string, value: string): Promise<bigint> => {
    const result = await store.txn([{ op: 'set', key, value }]);
    if (result.outcome !== 'committed') throw new Error(result.detail);
    return result.index;
  };
  const acquire = async (by: Client, options: LeaseOptions): Promise<Lease> => {
    const lease = await by.store.acquire(options);
    onTestFinished(async () => {
      by.faults.heal();
      await lease.release();
    });
    return lease;
  };
  /** Collects what a watch shows, until the test ends. */
  const watch = (by: Client, prefix: string) => {
    const stop = new AbortController();
    const shown: Listing[] = [];
    const troubles: StoreError[] = [];
    const running = (async () => {
      const onTrouble = (error: StoreError): void => void troubles.push(error);
      for await (const listing of by.store.watch(prefix, { signal: stop.signal, onTrouble })) shown.push(listing);
    })();
    const end = async (): Promise<void> => {
      stop.abort();
      await running;
    };
    onTestFinished(end);
    const values = (): string[] => shown.map(({ entries }) => entries.map(({ value }) => value).join(','));
    return { shown, troubles, values, end };
  };

  describe('values', () => {
    it('are read as written, with the index of their write', async () => {
      for (const value of ['', 'plain', '{"snow":"☃","zero":"\u0000"}', 'x'.repeat(MAX_TXN_VALUE_BYTES)]) {
        const index = await put(`${folder}a`, value);
        expect(await store.get(`${folder}a`, { consistency: 'consistent' })).toEqual({
          key: `${folder}a`,
          value,
          index,
        });
      }
    });

    it('that do not exist are undefined, and a folder without keys is an empty listing', async () => {
      expect(await store.get(`${folder}a`)).toBeUndefined();
      expect((await store.list(folder)).entries).toEqual([]);
    });

    it('are listed in order of their keys, those of other prefixes left out', async () => {
      for (const key of ['b', 'a/2', 'a/10', 'a.b', 'B', 'a']) await put(folder + key, key);
      await put(`${folder.slice(0, -1)}x`, 'beside');
      const { entries } = await store.list(folder);
      expect(entries.map(({ key }) => key.slice(folder.length))).toEqual(['B', 'a', 'a.b', 'a/10', 'a/2', 'b']);
    });

    it('written again, though the same, count as written', async () => {
      const first = await put(`${folder}a`, 'same');
      const second = await put(`${folder}a`, 'same');
      expect(second).toBeGreaterThan(first);
      expect((await store.get(`${folder}a`))?.index).toBe(second);
    });

    it.each(['', '/a', 'a/', 'a//b', 'a/../b', 'snow☃', 'a b', 'x'.repeat(257)])('refuse the key %j', async (key) => {
      expect(await kindOfFailure(store.get(key))).toBe('invalid');
      expect(await kindOfFailure(store.txn([{ op: 'set', key, value: '' }]))).toBe('invalid');
    });

    it('take any printable key', async () => {
      const key = `${folder}!"#$%&'()*+,-.:;<=>?@[]^_\`{|}~\\`;
      await put(key, 'odd');
      expect(await store.get(key)).toMatchObject({ key, value: 'odd' });
      expect((await store.list(folder)).entries).toMatchObject([{ key }]);
    });
  });

  describe('a transaction', () => {
    it('does all of its steps, with one index', async () => {
      await put(`${folder}gone`, 'x');
      const result = await store.txn([
        { op: 'set', key: `${folder}a`, value: '1' },
        { op: 'cas', key: `${folder}b`, value: '2', index: 0n },
        { op: 'delete', key: `${folder}gone` },
      ]);
      const { entries } = await store.list(folder);
      const index = result.outcome === 'committed' ? result.index : undefined;
      expect(entries).toEqual([
        { key: `${folder}a`, value: '1', index },
        { key: `${folder}b`, value: '2', index },
      ]);
    });

    it('does nothing when one step cannot be, and names that step', async () => {
      const index = await put(`${folder}a`, '1');
      const refused: TxnOp[] = [
        { op: 'check', key: `${folder}a`, index: index - 1n },
        { op: 'check', key: `${folder}a`, index: 0n },
        { op: 'check', key: `${folder}none`, index },
        { op: 'check-session', key: `${folder}a`, session: '00000000-0000-7000-8000-000000000000' },
        { op: 'check-session', key: `${folder}none`, session: '00000000-0000-7000-8000-000000000000' },
        { op: 'cas', key: `${folder}a`, value: 'x', index: index - 1n },
        { op: 'cas', key: `${folder}a`, value: 'x', index: 0n },
        { op: 'cas', key: `${folder}none`, value: 'x', index },
        { op: 'delete-cas', key: `${folder}a`, index: index - 1n },
        { op: 'delete-cas', key: `${folder}a`, index: 0n },
        { op: 'delete-cas', key: `${folder}none`, index },
      ];
      for (const op of refused) {
        const result = await store.txn([{ op: 'set', key: `${folder}b`, value: 'x' }, op]);
        expect(result).toMatchObject({ outcome: 'conflict', failedOp: op });
      }
      expect((await store.list(folder)).entries).toEqual([{ key: `${folder}a`, value: '1', index }]);
    });

    it('passes its checks where they hold', async () => {
      const index = await put(`${folder}a`, '1');
      const result = await store.txn([
        { op: 'check', key: `${folder}a`, index },
        { op: 'check', key: `${folder}none`, index: 0n },
        { op: 'delete-cas', key: `${folder}none`, index: 0n },
        { op: 'delete-cas', key: `${folder}a`, index },
      ]);
      expect(result).toEqual({ outcome: 'committed', index: 0n });
      expect(await store.get(`${folder}a`)).toBeUndefined();
      const checksOnly = await store.txn([{ op: 'check', key: `${folder}a`, index: 0n }]);
      expect(checksOnly).toEqual({ outcome: 'committed', index: 0n });
    });

    it('sees what its own earlier steps did', async () => {
      const result = await store.txn([
        { op: 'cas', key: `${folder}a`, value: '1', index: 0n },
        { op: 'cas', key: `${folder}a`, value: '2', index: 0n },
      ]);
      expect(result.outcome).toBe('conflict');
      expect(await store.get(`${folder}a`)).toBeUndefined();
    });

    it('takes 64 steps and no more, and no more bytes than fit', async () => {
      const steps = (count: number): TxnOp[] =>
        Array.from({ length: count }, (_, i) => {
          const key = `${folder}${'k'.repeat(200)}${String(i)}`;
          return { op: 'set', key, value: '' };
        });
      const share = 'x'.repeat(MAX_TXN_VALUE_BYTES / MAX_TXN_OPS);
      const full = steps(MAX_TXN_OPS).map((op) => ({ ...op, value: share }) as TxnOp);
      expect((await store.txn(full)).outcome).toBe('committed');
      expect(await kindOfFailure(store.txn(steps(MAX_TXN_OPS + 1)))).toBe('invalid');
      expect(await kindOfFailure(store.txn([]))).toBe('invalid');
      const oversized: TxnOp = { op: 'set', key: `${folder}a`, value: 'x'.repeat(MAX_TXN_VALUE_BYTES + 1) };
      expect(await kindOfFailure(store.txn([oversized]))).toBe('invalid');
      const deletes = (count: number): TxnOp[] =>
        Array.from({ length: count }, (_, i) => ({ op: 'delete-cas', key: `${folder}${String(i)}`, index: 9n }));
      expect(await kindOfFailure(store.txn(deletes(MAX_TXN_OPS / 2 + 1)))).toBe('invalid');
    });
  });

  describe('a watch', () => {
    it('shows what is there, then every newest state, and ends with its signal', async () => {
      await put(`${folder}a`, '1');
      const { values, troubles, end } = watch(client, folder);
      await expect.poll(values).toEqual(['1']);
      await put(`${folder}a`, '2');
      await expect.poll(values).toEqual(['1', '2']);
      await store.txn([{ op: 'delete', key: `${folder}a` }]);
      await expect.poll(values).toEqual(['1', '2', '']);
      await put(`${folder.slice(0, -1)}x`, 'beside');
      await delay(50);
      await end();
      expect(values()).toEqual(['1', '2', '']);
      expect(troubles).toEqual([]);
    });

    it('skips states that a slow consumer missed, never the newest', async () => {
      const stop = new AbortController();
      const seen: string[] = [];
      for await (const { entries } of store.watch(folder, { signal: stop.signal })) {
        seen.push(entries[0]?.value ?? 'none');
        if (seen.length === 1) for (let i = 0; i < 20; i++) await put(`${folder}a`, String(i));
        if (seen.at(-1) === '19') stop.abort();
      }
      expect(seen).toEqual(['none', '19']);
    });

    it('shows a lock that was taken and given up', async () => {
      const { shown } = watch(client, folder);
      await expect.poll(() => shown.length).toBe(1);
      const lease = await acquire(client, leaseOf(`${folder}lock`, 'h1'));
      await expect.poll(() => shown.at(-1)?.entries[0]?.session).toBe(lease.session);
      await lease.release();
      await expect.poll(() => shown.at(-1)?.entries[0]).toMatchObject({ value: 'h1 1' });
      expect(shown.at(-1)?.entries[0]).not.toHaveProperty('session');
    });
  });

  describe('a lock', () => {
    it('lost lock race: one wins, the others give up after 5 tries and name the holder', async () => {
      const rivals = await Promise.all(['h1', 'h2', 'h3', 'h4'].map((name) => backend.client(name)));
      const attempts = rivals.map((rival, i) => acquire(rival, leaseOf(`${folder}lock`, `h${String(i + 1)}`)));
      const results = await Promise.allSettled(attempts);
      const won = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
      expect(won.map(({ value }) => value)).toEqual([expect.stringMatching(/^h\d 1$/)]);
      const lost = results.flatMap((result) => (result.status === 'rejected' ? [result.reason as unknown] : []));
      expect(lost).toHaveLength(3);
      for (const reason of lost) {
        expect(reason).toBeInstanceOf(LockHeld);
        expect(reason).toMatchObject({ key: `${folder}lock`, holder: won[0]?.value, tries: 5 });
      }
    });

    it('acquisition is tried 5 times and takes a lock that is freed meanwhile', async () => {
      const holder = await acquire(await backend.client('h2'), leaseOf(`${folder}lock`, 'h2'));
      const failing = client.store.acquire(leaseOf(`${folder}lock`, 'h1'));
      await expect(failing).rejects.toThrow(`${folder}lock is held by h2 1; gave up after 5 tries`);
      expect(faults.calls).toMatchObject({ read: 5, session: 0 });
      const waiting = acquire(client, leaseOf(`${folder}lock`, 'h1'));
      await delay(150);
      await holder.release();
      expect((await waiting).value).toBe('h1 2');
    });

    it('epochs grow with every holder in turn, across release', async () => {
      const rival = await backend.client('h2');
      for (let epoch = 1; epoch <= 4; epoch++) {
        const [by, name] = epoch % 2 === 1 ? ([client, 'h1'] as const) : ([rival, 'h2'] as const);
        const lease = await by.store.acquire(leaseOf(`${folder}lock`, name, { lockDelayMs: 60_000, tries: 1 }));
        expect(lease.value).toBe(`${name} ${String(epoch)}`);
        expect(await store.get(lease.key)).toEqual({
          key: lease.key,
          value: lease.value,
          index: lease.index,
          session: lease.session,
        });
        await lease.release();
        expect(lease.lost.reason).toMatchObject({ end: 'released' });
        expect(await store.get(lease.key)).toMatchObject({ value: lease.value });
      }
    });

    it('released keeps a value that its holder changed meanwhile', async () => {
      const lease = await acquire(client, leaseOf(`${folder}lock`, 'h1'));
      await put(lease.key, 'h1 1 and more');
      await lease.release();
      expect(await store.get(lease.key)).toMatchObject({ value: 'h1 1 and more' });
    });

    it('session expiry while held: lost here before the store frees it, and the old holder is powerless', async () => {
      const lease = await acquire(client, leaseOf(`${folder}lock`, 'h1'));
      faults.plan('session', 'hang');
      const rival = await backend.client('h2');
      const takeOver = async (): Promise<[Lease, number]> => {
        const taken = await acquire(rival, leaseOf(`${folder}lock`, 'h2', { tries: 100 }));
        return [taken, performance.now()];
      };
      const [lostAtMs, [successor, takenAtMs]] = await Promise.all([ended(lease), takeOver()]);
      expect(lease.lost.reason).toMatchObject({ end: 'expired' });
      expect(lostAtMs).toBeLessThan(takenAtMs);
      expect(takenAtMs - lease.renewedAtMs()).toBeGreaterThan(TIMES.ttlMs);
      expect(successor.value).toBe('h2 2');
      const late: TxnOp[] = [
        { op: 'check-session', key: lease.key, session: lease.session },
        { op: 'set', key: `${folder}a`, value: 'of an old leader' },
      ];
      expect(await store.txn(late)).toMatchObject({ outcome: 'conflict', failedOp: late[0] });
      const now: TxnOp[] = [
        { op: 'check-session', key: lease.key, session: successor.session },
        { op: 'set', key: `${folder}a`, value: 'of the leader' },
      ];
      expect(await rival.store.txn(now)).toMatchObject({ outcome: 'committed' });
    });

    it('is known to be lost when its session was ended or its key taken away by hand', async () => {
      const one = await acquire(client, leaseOf(`${folder}one`, 'h1'));
      const two = await acquire(client, leaseOf(`${folder}two`, 'h1'));
      await backend.operator.destroySession(one.session, signal);
      await backend.operator.txn([{ op: 'delete', key: two.key }], signal);
      await Promise.all([ended(one), ended(two)]);
      expect(one.lost.reason).toMatchObject({ end: 'session-gone' });
      expect(two.lost.reason).toMatchObject({ end: 'taken' });
    });

    it('is kept from others for its lock delay when its holder vanished', async () => {
      const lease = await acquire(client, leaseOf(`${folder}lock`, 'h1', { lockDelayMs: 1_000 }));
      const vanishedAtMs = performance.now();
      await backend.operator.destroySession(lease.session, signal);
      const successor = await acquire(await backend.client('h2'), leaseOf(`${folder}lock`, 'h2', { tries: 100 }));
      expect(performance.now() - vanishedAtMs).toBeGreaterThan(900);
      expect(successor.value).toBe('h2 2');
    });

    it('tied to the health of its node is taken and renewed like any other', async () => {
      const lease = await acquire(client, leaseOf(`${folder}lock`, 'h1', { tieToNodeHealth: true }));
      await delay(2 * TIMES.giveUpAfterMs);
      expect(lease.lost.aborted).toBe(false);
      expect(performance.now() - lease.renewedAtMs()).toBeLessThan(TIMES.giveUpAfterMs);
    });

    it('whose taking was answered with an error though it was done is held, with one epoch drawn', async () => {
      for (const fault of ['cut-after', '500-after'] as const) {
        faults.plan('write', fault, 1);
        const lease = await acquire(client, leaseOf(`${folder}${fault}`, 'h1', { tries: 1 }));
        expect(lease.value).toBe('h1 1');
        expect(await store.get(lease.key)).toMatchObject({ session: lease.session, index: lease.index });
      }
    });

    it('is had in spite of single failures, and not had when the store stays away', async () => {
      faults.plan('read', '500', 1);
      faults.plan('session', 'cut-before', 1);
      faults.plan('write', 'cut-before', 1);
      expect((await acquire(client, leaseOf(`${folder}lock`, 'h1'))).value).toBe('h1 1');
      faults.plan('read', 'cut-before');
      const before = faults.calls.read;
      const elsewhere = client.store.acquire(leaseOf(`${folder}other`, 'h1', { retryEveryMs: 10 }));
      expect(await kindOfFailure(elsewhere)).toBe('unavailable');
      expect(faults.calls.read - before).toBeGreaterThanOrEqual(5);
    });

    it('outlives a slow store and failures shorter than its limit', async () => {
      const lease = await acquire(client, leaseOf(`${folder}lock`, 'h1', { renewEveryMs: 600, giveUpAfterMs: 1_800 }));
      faults.plan('session', 'slow');
      await delay(2_000);
      for (const fault of ['500', 'cut-before', 'cut-after', 'hang'] as const) {
        faults.plan('session', fault, 1);
        await delay(1_200);
      }
      expect(lease.lost.aborted).toBe(false);
    });
  });

  describe('a fault', () => {
    it('transaction with unknown outcome (cut after the write): said to be unknown, and a read tells', async () => {
      for (const fault of ['cut-after', '500-after'] as const) {
        faults.plan('write', fault, 1);
        expect(await kindOfFailure(put(`${folder}${fault}`, 'written'))).toBe('unknown-outcome');
        expect(await store.get(`${folder}${fault}`, { consistency: 'consistent' })).toMatchObject({ value: 'written' });
      }
      for (const fault of ['cut-before', '500'] as const) {
        faults.plan('write', fault, 1);
        expect(await kindOfFailure(put(`${folder}${fault}`, 'written'))).toBe('unknown-outcome');
        expect(await store.get(`${folder}${fault}`, { consistency: 'consistent' })).toBeUndefined();
      }
    });

    it('no leader: a write that was certainly not done is "unavailable"', async () => {
      faults.plan('write', 'no-leader', 1);
      expect(await kindOfFailure(put(`${folder}a`, '1'))).toBe('unavailable');
      expect(await store.get(`${folder}a`)).toBeUndefined();
    });

    const broken = ['500', 'cut-before', 'cut-after'] as const;
    it.each(broken)('%s: reads fail, and never with an empty value', async (fault) => {
      await put(`${folder}a`, '1');
      faults.plan('read', fault);
      expect(await kindOfFailure(store.get(`${folder}a`))).toBe('unavailable');
      expect(await kindOfFailure(store.get(`${folder}none`))).toBe('unavailable');
      expect(await kindOfFailure(store.list(folder))).toBe('unavailable');
      faults.heal();
      expect(await store.get(`${folder}a`)).toMatchObject({ value: '1' });
    });

    it('hang: every call ends at its limit or with its signal', async () => {
      await put(`${folder}a`, '1');
      faults.plan('read', 'hang');
      faults.plan('write', 'hang');
      expect(await kindOfFailure(store.get(`${folder}a`, { deadlineMs: 100 }))).toBe('deadline');
      expect(await kindOfFailure(store.list(folder, { deadlineMs: 100 }))).toBe('deadline');
      const write = store.txn([{ op: 'set', key: `${folder}a`, value: '2' }], { deadlineMs: 100 });
      expect(await kindOfFailure(write)).toBe('unknown-outcome');
      const cancel = new AbortController();
      const reading = store.get(`${folder}a`, { signal: cancel.signal });
      const writing = store.txn([{ op: 'set', key: `${folder}a`, value: '2' }], { signal: cancel.signal });
      setTimeout(() => {
        cancel.abort(new Error('enough'));
      }, 50);
      await expect(reading).rejects.toMatchObject({ name: 'Cancelled' });
      expect(await kindOfFailure(writing)).toBe('unknown-outcome');
      const neverSent = store.txn([{ op: 'set', key: `${folder}a`, value: '2' }], { signal: cancel.signal });
      await expect(neverSent).rejects.toMatchObject({ name: 'Cancelled' });
    });

    it('slow: answers within the limit count, later ones do not', async () => {
      faults.plan('read', 'slow');
      faults.plan('write', 'slow');
      await put(`${folder}a`, '1');
      expect(await store.get(`${folder}a`)).toMatchObject({ value: '1' });
      expect(await kindOfFailure(store.get(`${folder}a`, { deadlineMs: SLOW_MS / 2 }))).toBe('deadline');
    });

    it('blocking query that returns early: nothing is shown twice, and the store is not overrun', async () => {
      await put(`${folder}a`, '1');
      const { values, troubles } = watch(client, folder);
      await expect.poll(values).toEqual(['1']);
      faults.plan('watch', 'early');
      await put(`${folder}a`, '2');
      await expect.poll(values).toEqual(['1', '2']);
      const before = faults.calls.watch;
      await delay(1_000);
      expect(faults.calls.watch - before).toBeLessThan(20);
      await put(`${folder}a`, '3');
      await expect.poll(values, { timeout: 3_000 }).toEqual(['1', '2', '3']);
      expect(troubles).toEqual([]);
    });

    it('stale read: an old value is caught by the check in the transaction', async () => {
      faults.remember();
      await put(`${folder}a`, 'old');
      const old = await store.get(`${folder}a`);
      await put(`${folder}a`, 'new');
      faults.plan('read', 'stale');
      const stale = await store.get(`${folder}a`, { consistency: 'stale' });
      expect(stale).toEqual(old);
      const built = await store.txn([{ op: 'cas', key: `${folder}a`, value: 'newer', index: stale?.index ?? 0n }]);
      expect(built.outcome).toBe('conflict');
      faults.heal();
      expect(await store.get(`${folder}a`)).toMatchObject({ value: 'new' });
    });

    it('index going backwards: a watch neither shows the older state nor sticks to it', async () => {
      await put(`${folder}a`, 'old');
      faults.remember();
      await store.list(folder);
      await put(`${folder}a`, 'new');
      const { values } = watch(client, folder);
      await expect.poll(values).toEqual(['new']);
      faults.plan('watch', 'stale', 3);
      await put(`${folder}a`, 'newer');
      await expect.poll(values, { timeout: 3_000 }).toEqual(['new', 'newer']);
      await put(`${folder}a`, 'newest');
      await expect.poll(values, { timeout: 5_000 }).toEqual(['new', 'newer', 'newest']);
    });

    it('a watch reports its troubles, shows nothing untrue, and goes on by itself', async () => {
      await put(`${folder}a`, '1');
      const { values, troubles } = watch(client, folder);
      await expect.poll(values).toEqual(['1']);
      faults.plan('watch', '500');
      await put(`${folder}a`, '2');
      await expect.poll(() => troubles.length).toBeGreaterThanOrEqual(2);
      expect(troubles.map(({ kind }) => kind)).toEqual(troubles.map(() => 'unavailable'));
      const before = troubles.length;
      await delay(1_000);
      expect(troubles.length - before).toBeLessThan(10);
      faults.heal();
      await put(`${folder}a`, '3');
      await expect.poll(() => values().at(-1), { timeout: 5_000 }).toBe('3');
      expect(values()).not.toContain('');
    });
  });
});
