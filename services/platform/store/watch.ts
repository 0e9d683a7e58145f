// SPDX-License-Identifier: Apache-2.0
import { sleep, type Clock } from '../clock/clock.js';
import type { Random } from '../random/random.js';
import type { StoreCalls } from './calls.js';
import { StoreError, type Entry, type Listing } from './store.js';

/** How long one blocking query may stand open. A server that hangs is noticed after this and {@link WAIT_GRACE_MS}. */
const WAIT_MS = 15_000;
/** Consul adds up to a sixteenth of the wait; the rest is for the answer's way. */
const WAIT_GRACE_MS = 5_000;

/** Pauses after failures, and after answers that came early although nothing had changed. */
const TROUBLE = { firstMs: 100, mostMs: 5_000 };
const IDLE = { firstMs: 10, mostMs: 1_000 };

/**
 * A long listing is not asked for again at once: where many keys are written one after the other, as when all nodes of a
 * cluster join, reading all of them after each write would cost their square. Below `FROM` nothing is paused.
 */
const GATHER_MS_PER_ENTRY = 0.1;
const GATHER_FROM_MS = 10;

export interface WatchEnv {
  clock: Clock;
  random: Random;
}

export interface WatchOptions {
  signal: AbortSignal;
  onTrouble?: (error: StoreError) => void;
}

/** {@link Store.watch}, for every driver. It asks when the consumer is ready, so states are skipped, not queued. */
export async function* watchPrefix(
  calls: StoreCalls,
  { clock, random }: WatchEnv,
  prefix: string,
  { signal, onTrouble }: WatchOptions,
): AsyncGenerator<Listing, void, void> {
  let shown: Listing | undefined;
  let afterIndex: bigint | undefined;
  let troubles = 0;
  let idleAnswers = 0;

  while (!isAborted(signal)) {
    const askedAtMs = clock.nowMs();
    let listing: Listing;
    try {
      const wait = afterIndex === undefined ? {} : { wait: { afterIndex, waitMs: WAIT_MS } };
      listing = await calls.list(prefix, { ...wait, deadlineMs: WAIT_MS + WAIT_GRACE_MS, signal });
      troubles = 0;
    } catch (error) {
      if (isAborted(signal)) return;
      if (!(error instanceof StoreError) || error.kind === 'invalid') throw error;
      onTrouble?.(error);
      await pause(clock, backOffMs(TROUBLE, troubles++, random), signal);
      continue;
    }

    // A server restored from a snapshot, or one that lags: what it says now counts only if it says it again.
    const wentBack = afterIndex !== undefined && listing.index < afterIndex;
    afterIndex = wentBack ? undefined : listing.index;
    if (!wentBack && (shown === undefined || !sameEntries(shown.entries, listing.entries))) {
      shown = listing;
      idleAnswers = 0;
      yield listing;
      const gatherMs = listing.entries.length * GATHER_MS_PER_ENTRY;
      if (gatherMs >= GATHER_FROM_MS) await pause(clock, gatherMs, signal);
      continue;
    }
    const early = clock.nowMs() - askedAtMs < WAIT_MS / 2;
    idleAnswers = early ? idleAnswers + 1 : 0;
    if (early) await pause(clock, backOffMs(IDLE, idleAnswers - 1, random), signal);
  }
}

/** Doubles with every failure in a row, with a random half taken off so that clients do not come back as one. */
function backOffMs({ firstMs, mostMs }: { firstMs: number; mostMs: number }, failures: number, random: Random): number {
  return Math.min(mostMs, firstMs * 2 ** Math.min(failures, 16)) * (1 - random.next() / 2);
}

/** Sleeps, or ends early without error when the signal aborts. */
async function pause(clock: Clock, delayMs: number, signal: AbortSignal): Promise<void> {
  try {
    await sleep(clock, delayMs, signal);
  } catch (error) {
    if (!isAborted(signal)) throw error;
  }
}

/** Asked through a function, as the compiler takes a signal that was not aborted for one that never will be. */
function isAborted(signal: AbortSignal): boolean {
  return signal.aborted;
}

function sameEntries(left: readonly Entry[], right: readonly Entry[]): boolean {
  return (
    left.length === right.length &&
    left.every((entry, place) => {
      const other = right[place];
      return (
        entry.key === other?.key &&
        entry.index === other.index &&
        entry.session === other.session &&
        entry.value === other.value
      );
    })
  );
}
