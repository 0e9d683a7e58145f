// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../platform/clock/clock.js';

export interface OpeningsLimits {
  /** Streams that are being opened at a time. */
  atOnce: number;
  /** An opening that takes longer goes on, and no longer keeps others waiting: hosts that are gone answer nothing. */
  holdsForMs: number;
}

/** Says that the place may go to the next. More than once does nothing. */
export type Leave = () => void;

/**
 * The bound on what is opened at a time, so that a new leader of a large cluster works off its nodes instead of choking on
 * all of them. In the order in which they asked; but what failed a moment ago waits for what was not tried yet, so that
 * hosts that are gone never keep a leader from those that are there.
 */
export class Openings {
  readonly #first: Waiting[] = [];
  readonly #again: Waiting[] = [];
  #open = 0;

  constructor(
    private readonly clock: Clock,
    private readonly limits: OpeningsLimits,
  ) {}

  /** Resolves with the place once it is free. Rejects with the signal's reason if it aborts before. */
  enter(signal: AbortSignal, failedBefore: boolean): Promise<Leave> {
    signal.throwIfAborted();
    const queue = failedBefore ? this.#again : this.#first;
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        queue.splice(queue.indexOf(waiting), 1);
        reject(signal.reason as Error);
      };
      const waiting: Waiting = {
        admit: () => {
          signal.removeEventListener('abort', onAbort);
          resolve(this.#take());
        },
      };
      signal.addEventListener('abort', onAbort, { once: true });
      queue.push(waiting);
      this.#admit();
    });
  }

  #take(): Leave {
    this.#open += 1;
    let held = true;
    const leave = (): void => {
      if (!held) return;
      held = false;
      timer.stop();
      this.#open -= 1;
      this.#admit();
    };
    const timer = this.clock.after(this.limits.holdsForMs, leave);
    return leave;
  }

  #admit(): void {
    while (this.#open < this.limits.atOnce) {
      const next = this.#first.shift() ?? this.#again.shift();
      if (next === undefined) return;
      next.admit();
    }
  }
}

interface Waiting {
  admit: () => void;
}
