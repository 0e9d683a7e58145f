// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { createVirtualClock } from '../clock/virtual.js';
import type { LogFields, Logger } from '../log/log.js';
import { createSeededRandom } from '../random/seeded.js';
import { storeOn } from './assemble.js';
import type { StoreDriver } from './driver.js';
import { createEmbeddedStore } from './embedded.js';
import { LeaseLost, LockHeld, StoreError, type LeaseOptions } from './store.js';

const TIMES = { ttlMs: 15_000, renewEveryMs: 5_000, giveUpAfterMs: 12_000, lockDelayMs: 1_000, retryEveryMs: 1_000 };

function leaseOf(name: string, more: Partial<LeaseOptions> = {}): LeaseOptions {
  const value = (previous: string | undefined): string => {
    const epoch = previous === undefined ? 0 : Number(previous.split(' ')[1]);
    return `${name} ${String(epoch + 1)}`;
  };
  return { key: 'leaders/scheduler', name, value, ...TIMES, ...more };
}

function createWorld() {
  const clock = createVirtualClock();
  const random = createSeededRandom({ seed: 1, clock });
  const server = createEmbeddedStore({ clock, random });
  const storeWith = (name: string, faults: Partial<StoreDriver>) =>
    storeOn({ ...server.driver(name), ...faults }, { clock, random });
  return { clock, server, storeWith };
}

const ignore = (): void => undefined;
const silentLog: Logger = {
  log: ignore,
  ok: ignore,
  error: ignore,
  warn: ignore,
  info: ignore,
  debug: ignore,
  child: () => silentLog,
};

const unreachable = () => Promise.reject(new StoreError('unavailable', 'cut off'));

describe('a lease', () => {
  it('is taken over from the life before of the same process, once the lock delay has passed, and from nobody else', async () => {
    const { clock, server } = createWorld();
    const before = await server.store('h1').acquire(leaseOf('h1'));
    const isOwn = (held: string): boolean => held.startsWith('h1 ');
    const strange = server.store('h2').acquire(leaseOf('h2', { takesOver: (held) => held.startsWith('h2 '), tries: 2 }));
    strange.catch(() => undefined);
    await clock.advance(3_000);
    await expect(strange).rejects.toBeInstanceOf(LockHeld);
    expect(before.lost.aborted).toBe(false);
    const next = server.store('h1').acquire(leaseOf('h1', { takesOver: isOwn }));
    await clock.advance(3_000);
    expect((await next).value).toBe('h1 2');
    await clock.advance(15_000);
    expect(before.lost.aborted).toBe(true);
    await (await next).release();
  });

  it('is renewed for as long as it is held', async () => {
    const { clock, server } = createWorld();
    const lease = await server.store('h1').acquire(leaseOf('h1'));
    await clock.advance(600_000);
    expect(lease.lost.aborted).toBe(false);
    expect(clock.nowMs() - lease.renewedAtMs()).toBeLessThan(5_001);
    await lease.release();
    expect(clock.nextDueMs()).toBeUndefined();
  });

  it('counts itself lost before the store frees the lock, and the next holder has the next epoch', async () => {
    const { clock, server, storeWith } = createWorld();
    let cutOff = false;
    const driver = server.driver('h1');
    const first = await storeWith('h1', {
      renewSession: (session, signal) => (cutOff ? unreachable() : driver.renewSession(session, signal)),
    }).acquire(leaseOf('h1'));
    await clock.advance(7_000);
    cutOff = true;
    let lostAtMs: number | undefined;
    first.lost.addEventListener('abort', () => {
      lostAtMs = clock.nowMs();
    });

    const taking = server.store('h2').acquire(leaseOf('h2', { tries: 100 }));
    let takenAtMs: number | undefined;
    void taking.then(() => {
      takenAtMs = clock.nowMs();
    });
    await clock.advance(60_000);
    const second = await taking;
    expect(lostAtMs).toBe(first.renewedAtMs() + TIMES.giveUpAfterMs);
    expect(first.lost.reason).toMatchObject({ end: 'expired', cause: { kind: 'unavailable' } });
    expect(takenAtMs).toBeGreaterThan(first.renewedAtMs() + TIMES.ttlMs);
    expect([first.value, second.value]).toEqual(['h1 1', 'h2 2']);
    await second.release();
  });

  it('tells the log of every renewal that failed, and how long it has left', async () => {
    const { clock, server } = createWorld();
    const lines: [string, LogFields | undefined][] = [];
    const warn = (message: string, fields?: LogFields): void => void lines.push([message, fields]);
    const driver = { ...server.driver('h1'), renewSession: unreachable };
    const log = { ...silentLog, warn };
    const store = storeOn(driver, { clock, random: createSeededRandom({ seed: 2, clock }), log });
    const lease = await store.acquire(leaseOf('h1'));
    await clock.advance(5_600);
    expect(lines).toEqual([
      ['lease could not be renewed', { key: lease.key, leftMs: 7_000, error: expect.any(StoreError) as unknown }],
      ['lease could not be renewed', { key: lease.key, leftMs: 6_500, error: expect.any(StoreError) as unknown }],
    ]);
    await lease.release();
  });

  it('outlives failures that are shorter than its limit', async () => {
    const { clock, server, storeWith } = createWorld();
    const driver = server.driver('h1');
    let failures = 0;
    const lease = await storeWith('h1', {
      renewSession: (session, signal) => (failures++ % 4 === 3 ? driver.renewSession(session, signal) : unreachable()),
    }).acquire(leaseOf('h1'));
    await clock.advance(300_000);
    expect(lease.lost.aborted).toBe(false);
    expect(failures).toBeGreaterThan(100);
    await lease.release();
  });

  it('outlives calls that hang, as each has a limit of its own', async () => {
    const { clock, server, storeWith } = createWorld();
    const driver = server.driver('h1');
    let calls = 0;
    const lease = await storeWith('h1', {
      renewSession: (session, signal) =>
        calls++ % 2 === 0 ? new Promise<boolean>(() => undefined) : driver.renewSession(session, signal),
    }).acquire(leaseOf('h1'));
    await clock.advance(300_000);
    expect(lease.lost.aborted).toBe(false);
    await lease.release();
  });

  it('is lost at once when a renewal was answered so late that its time is over', async () => {
    const { clock, server, storeWith } = createWorld();
    const driver = server.driver('h1');
    const lease = await storeWith('h1', {
      renewSession: async (session, signal) => {
        const alive = await driver.renewSession(session, signal);
        // The process stood still (SIGSTOP): no timer could fire meanwhile.
        const resumedAtMs = clock.nowMs() + 20_000;
        clock.nowMs = () => resumedAtMs;
        return alive;
      },
    }).acquire(leaseOf('h1'));
    await clock.advance(5_000);
    expect(lease.lost.reason).toMatchObject({ end: 'expired' });
  });

  it('is lost when its session ends, or the key is taken away, without waiting for its limit', async () => {
    const { clock, server } = createWorld();
    const tied = await server.store('h1').acquire(leaseOf('h1', { key: 'alive/h1', tieToNodeHealth: true }));
    const other = await server.store('h2').acquire(leaseOf('h2', { key: 'alive/h2', tieToNodeHealth: true }));
    server.failNode('h1');
    await server.store('operator').txn([{ op: 'delete', key: 'alive/h2' }]);
    await clock.advance(5_000);
    expect(tied.lost.reason).toMatchObject({ end: 'session-gone' });
    expect(other.lost.reason).toMatchObject({ end: 'taken' });
  });

  it('is given up on after 5 tries, with the holder named', async () => {
    const { clock, server } = createWorld();
    const held = await server.store('h1').acquire(leaseOf('h1'));
    const taking = server.store('h2').acquire(leaseOf('h2'));
    const refusal = taking.catch((error: unknown) => error);
    await clock.advance(4_000);
    const error = await refusal;
    expect(error).toBeInstanceOf(LockHeld);
    expect(error).toMatchObject({ holder: 'h1 1', tries: 5 });
    expect(String(error)).toContain('leaders/scheduler is held by h1 1');
    await held.release();
  });

  it('draws its epoch from the value it replaces, though others come and go between read and lock', async () => {
    const { clock, server, storeWith } = createWorld();
    const driver = server.driver('h1');
    let intruded = 0;
    const taking = storeWith('h1', {
      txn: async (ops, signal) => {
        if (ops.some(({ op }) => op === 'lock') && intruded++ < 2) {
          const other = await server.store('h2').acquire(leaseOf('h2'));
          await other.release();
        }
        return driver.txn(ops, signal);
      },
    }).acquire(leaseOf('h1'));
    await clock.advance(2_000);
    const lease = await taking;
    expect(lease.value).toBe('h1 3');
    await lease.release();
  });

  it('when released is free at once, in spite of the lock delay, and says that it was released', async () => {
    const { clock, server } = createWorld();
    const first = await server.store('h1').acquire(leaseOf('h1', { lockDelayMs: 60_000 }));
    await Promise.all([first.release(), first.release()]);
    expect(first.lost.reason).toBeInstanceOf(LeaseLost);
    expect(first.lost.reason).toMatchObject({ end: 'released' });
    const second = await server.store('h2').acquire(leaseOf('h2', { tries: 1 }));
    expect(second.value).toBe('h2 2');
    await second.release();
    expect(clock.nowMs()).toBe(0);
  });

  it('is not taken by a caller that has cancelled, and leaves no session', async () => {
    const { clock, server } = createWorld();
    const held = await server.store('h1').acquire(leaseOf('h1'));
    const cancel = new AbortController();
    const taking = server.store('h2').acquire(leaseOf('h2', { signal: cancel.signal }));
    const refusal = taking.catch((error: unknown) => error);
    await clock.advance(1_500);
    cancel.abort(new Error('shutting down'));
    expect(await refusal).toMatchObject({ name: 'Cancelled', cause: { message: 'shutting down' } });
    await held.release();
    await clock.settle();
    expect(clock.nextDueMs()).toBeUndefined();
  });

  it('refuses times that could not keep it', async () => {
    const { server } = createWorld();
    const taking = server.store('h1').acquire(leaseOf('h1', { giveUpAfterMs: 15_000 }));
    await expect(taking).rejects.toMatchObject({ kind: 'invalid' });
  });
});
