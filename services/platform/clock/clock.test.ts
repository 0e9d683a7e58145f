// SPDX-License-Identifier: Apache-2.0
import { getEventListeners } from 'node:events';
import { describe, expect, it } from 'vitest';
import { Cancelled, DeadlineExceeded, sleep, withDeadline } from './clock.js';
import { systemClock } from './system.js';
import { createVirtualClock } from './virtual.js';

const never = (): Promise<never> => new Promise(() => undefined);
const listenersOf = (signal: AbortSignal): number => getEventListeners(signal, 'abort').length;

/** What a promise came to, or undefined while it is open. */
function watchOutcome(promise: Promise<unknown>): () => unknown {
  let outcome: unknown;
  promise.then(
    (value) => {
      outcome = value;
    },
    (error: unknown) => {
      outcome = error;
    },
  );
  return () => outcome;
}

describe('withDeadline', () => {
  it('passes the result on and leaves neither timer nor listener behind', async () => {
    const clock = createVirtualClock();
    const { signal } = new AbortController();
    await expect(withDeadline(clock, { what: 'x', limitMs: 10, signal }, () => Promise.resolve(7))).resolves.toBe(7);
    const failing = withDeadline(clock, { what: 'x', limitMs: 10, signal }, () => Promise.reject(new Error('no')));
    await expect(failing).rejects.toThrow('no');
    expect(clock.nextDueMs()).toBeUndefined();
    expect(listenersOf(signal)).toBe(0);
  });

  it('settles at the limit, although the work does not listen, and tells the work', async () => {
    const clock = createVirtualClock();
    const { signal } = new AbortController();
    let told: AbortSignal | undefined;
    const outcome = watchOutcome(
      withDeadline(clock, { what: 'Finish on h2', limitMs: 500, signal }, (inner) => {
        told = inner;
        return never();
      }),
    );
    await clock.advance(499);
    expect(outcome()).toBeUndefined();
    await clock.advance(1);
    expect(outcome()).toBeInstanceOf(DeadlineExceeded);
    expect(outcome()).toMatchObject({ message: 'Finish on h2: no answer within 500 ms', limitMs: 500 });
    expect(told?.reason).toBe(outcome());
    expect(listenersOf(signal)).toBe(0);
  });

  it('settles when the caller aborts, and stops its timer', async () => {
    const clock = createVirtualClock();
    const caller = new AbortController();
    const outcome = watchOutcome(withDeadline(clock, { what: 'x', limitMs: 500, signal: caller.signal }, never));
    caller.abort(new Error('shutting down'));
    await clock.settle();
    expect(outcome()).toBeInstanceOf(Cancelled);
    expect(outcome()).toMatchObject({ cause: { message: 'shutting down' } });
    expect(clock.nextDueMs()).toBeUndefined();
  });

  it('does not start the work for a caller that has aborted', async () => {
    let started = false;
    const running = withDeadline(createVirtualClock(), { what: 'x', limitMs: 5, signal: AbortSignal.abort() }, () => {
      started = true;
      return never();
    });
    await expect(running).rejects.toBeInstanceOf(Cancelled);
    expect(started).toBe(false);
  });

  it('cleans up after work that throws at once', async () => {
    const clock = createVirtualClock();
    const { signal } = new AbortController();
    const running = withDeadline(clock, { what: 'x', limitMs: 5, signal }, () => {
      throw new Error('at once');
    });
    await expect(running).rejects.toThrow('at once');
    expect(clock.nextDueMs()).toBeUndefined();
    expect(listenersOf(signal)).toBe(0);
  });

  it('leaves nothing on a long-lived signal after 40,000 calls, whatever became of them', async () => {
    const clock = createVirtualClock();
    const { signal } = new AbortController();
    let most = 0;
    for (let i = 0; i < 40_000; i++) {
      const call = withDeadline(clock, { what: 'x', limitMs: 10, signal }, () =>
        i % 3 === 0 ? Promise.reject(new Error('no')) : Promise.resolve(i),
      ).catch(() => undefined);
      most = Math.max(most, listenersOf(signal));
      await call;
    }
    expect(most).toBe(1);
    expect(listenersOf(signal)).toBe(0);
    expect(clock.nextDueMs()).toBeUndefined();
  });
});

describe('sleep', () => {
  it('ends at its time, or with its signal, and leaves nothing behind', async () => {
    const clock = createVirtualClock();
    const stop = new AbortController();
    const slept = watchOutcome(sleep(clock, 100, stop.signal).then(() => 'slept'));
    await clock.advance(100);
    expect(slept()).toBe('slept');
    const cut = watchOutcome(sleep(clock, 100, stop.signal));
    stop.abort();
    await clock.settle();
    expect(cut()).toBeInstanceOf(Cancelled);
    expect(clock.nextDueMs()).toBeUndefined();
    expect(listenersOf(stop.signal)).toBe(0);
    await expect(sleep(clock, 1, stop.signal)).rejects.toBeInstanceOf(Cancelled);
  });
});

describe('the system clock', () => {
  it('fires once, not before its time, and not when stopped', async () => {
    const fired: string[] = [];
    const startedAtMs = systemClock.nowMs();
    systemClock.after(10, () => fired.push('stopped')).stop();
    await new Promise<void>((resolve) => {
      systemClock.after(30, () => {
        fired.push('fired');
        resolve();
      });
    });
    expect(fired).toEqual(['fired']);
    // Node rounds timers to whole milliseconds.
    expect(systemClock.nowMs() - startedAtMs).toBeGreaterThan(28);
  });

  it('does not fire at once when the delay is longer than a 32-bit timer holds', async () => {
    let fired = false;
    const timer = systemClock.after(2 ** 31 + 1_000, () => {
      fired = true;
    });
    await sleep(systemClock, 20);
    timer.stop();
    expect(fired).toBe(false);
  });
});
