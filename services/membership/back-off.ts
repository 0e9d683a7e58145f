// SPDX-License-Identifier: Apache-2.0
import { sleep, type Clock } from '../platform/clock/clock.js';
import type { Random } from '../platform/random/random.js';

/** The pauses of a loop that must never stop trying and never hammer. */
export interface BackOff {
  /** Sleeps; each call since the last `reset` twice as long as the one before, within the bound. Ends by the signal. */
  pause(signal: AbortSignal): Promise<void>;
  reset(): void;
}

export interface BackOffOptions {
  firstMs: number;
  mostMs: number;
}

/** A random half is taken off every pause, so that processes that failed together do not come back together. */
export function createBackOff(
  { clock, random }: { clock: Clock; random: Random },
  { firstMs, mostMs }: BackOffOptions,
): BackOff {
  let failures = 0;
  return {
    async pause(signal) {
      const fullMs = Math.min(mostMs, firstMs * 2 ** Math.min(failures, 16));
      failures += 1;
      await pauseUnlessAborted(clock, fullMs * (1 - random.next() / 2), signal);
    },
    reset() {
      failures = 0;
    },
  };
}

/** Sleeps, or ends early and without error when the signal aborts. */
export async function pauseUnlessAborted(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(clock, delayMs, signal);
  } catch (error) {
    if (!isAborted(signal)) throw error;
  }
}

/** Asked through a function, as the compiler takes a signal that was not aborted for one that never will be. */
export function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}
