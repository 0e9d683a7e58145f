// SPDX-License-Identifier: Apache-2.0
import type { Clock } from './clock.js';

/** A clock whose time passes only when it is told to: a whole cluster runs under it, the same way every time. */
export interface VirtualClock extends Clock {
  /**
   * Lets `durationMs` pass: every timer that falls due fires at its own moment, ties in order of creation, and what
   * it set in motion (promises) settles before the next one fires. Fails with what a timer threw.
   */
  advance(durationMs: number): Promise<void>;
  /** Lets everything settle that needs no time. */
  settle(): Promise<void>;
  /** When the next timer falls due, on the scale of `nowMs`; undefined when none is waiting. */
  nextDueMs(): number | undefined;
}

interface Waiting {
  readonly dueMs: number;
  readonly order: number;
  readonly fire: () => void;
}

/** After so many timers the whole event loop gets a turn, so that what it alone does (rejections that nobody handled) is seen. */
const TIMERS_A_TURN = 64;

const RESOLVED = Promise.resolve();

/** Wall time at the start of every virtual clock, unless told otherwise: any fixed moment will do. */
const DEFAULT_START = Date.UTC(2030, 0, 1);

/** A virtual clock standing at 0 ms; `startsAt` is its wall time then. */
export function createVirtualClock(startsAt: Date = new Date(DEFAULT_START)): VirtualClock {
  let nowMs = 0;
  let created = 0;
  /** Ordered by due time, then creation. */
  const waiting: Waiting[] = [];

  /** The place of the first timer that fires after (dueMs, order). */
  const placeOf = (dueMs: number, order: number): number => {
    let low = 0;
    let high = waiting.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const timer = waiting[middle];
      if (timer !== undefined && (timer.dueMs < dueMs || (timer.dueMs === dueMs && timer.order < order))) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    return low;
  };

  // An immediate runs only once the queues of promises and ticks are empty.
  const settle = (): Promise<void> =>
    new Promise((resolve) => {
      setImmediate(resolve);
    });

  /** Fires what falls due until then, one timer a tick, or the first 64. Answers whether more is due. */
  const fireSome = (untilMs: number): Promise<boolean> =>
    new Promise((resolve, reject) => {
      let fired = 0;
      const fireNext = (): void => {
        const next = waiting[0];
        const isDue = next !== undefined && next.dueMs <= untilMs;
        if (!isDue || fired === TIMERS_A_TURN) {
          resolve(isDue);
          return;
        }
        fired += 1;
        waiting.shift();
        nowMs = next.dueMs;
        try {
          next.fire();
        } catch (error) {
          reject(error instanceof Error ? error : new Error(String(error)));
          return;
        }
        void RESOLVED.then(afterPromises);
      };
      // A tick that a promise asked for comes once the queue of promises is empty, one that a tick asked for before that.
      const afterPromises = (): void => {
        process.nextTick(fireNext);
      };
      fireNext();
    });

  return {
    nowMs: () => nowMs,
    wallTime: () => new Date(startsAt.getTime() + nowMs),
    after(delayMs, fire) {
      const timer = { dueMs: nowMs + Math.max(0, delayMs), order: created++, fire };
      waiting.splice(placeOf(timer.dueMs, timer.order), 0, timer);
      return {
        stop: () => {
          const place = placeOf(timer.dueMs, timer.order);
          if (waiting[place] === timer) waiting.splice(place, 1);
        },
      };
    },
    async advance(durationMs) {
      const untilMs = nowMs + durationMs;
      do await settle();
      while (await fireSome(untilMs));
      await settle();
      nowMs = untilMs;
    },
    settle,
    nextDueMs: () => waiting[0]?.dueMs,
  };
}
