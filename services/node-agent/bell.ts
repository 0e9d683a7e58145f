// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../platform/clock/clock.js';

/** Remembers that something happened until somebody comes to ask. */
export class Bell {
  #rung = false;
  #listener: (() => void) | undefined;

  constructor(private readonly clock: Clock) {}

  ring(): void {
    this.#rung = true;
    this.#listener?.();
  }

  /** Resolves at once, or when it rings, with true; with false when the limit passes or the signal aborts. */
  wait(limitMs: number, signal: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const done = (): void => {
        timer.stop();
        this.#listener = undefined;
        signal.removeEventListener('abort', done);
        const rung = this.#rung;
        this.#rung = false;
        resolve(rung);
      };
      const timer = this.clock.after(limitMs, done);
      this.#listener = done;
      signal.addEventListener('abort', done, { once: true });
      if (this.#rung || signal.aborted) done();
    });
  }
}
