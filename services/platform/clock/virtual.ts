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

  // So does a tick, once the queue of promises is empty; it costs a fraction of a turn of the event loop.
  const settlePromises = (): Promise<void> =>
    new Promise((resolve) => {
      process.nextTick(resolve);
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
      await settle();
      for (let fired = 1; ; fired++) {
        const next = waiting[0];
        if (next === undefined || next.dueMs > untilMs) break;
        waiting.shift();
        nowMs = next.dueMs;
        next.fire();
        await (fired % TIMERS_A_TURN === 0 ? settle() : settlePromises());
      }
      await settle();
      nowMs = untilMs;
    },
    settle,
    nextDueMs: () => waiting[0]?.dueMs,
  };
}
