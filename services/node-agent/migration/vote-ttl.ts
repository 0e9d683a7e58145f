// SPDX-License-Identifier: Apache-2.0
import type { Clock, Timer } from '../../platform/clock/clock.js';

/** How long a target's vote holds without being renewed. */
export class VoteTtl {
  #timer: Timer;
  /** It ran out and was not renewed since. */
  lapsed = false;

  constructor(
    private readonly clock: Clock,
    private readonly limitMs: number,
    private readonly onLapse: () => void,
  ) {
    this.#timer = this.#start();
  }

  renew(): void {
    this.stop();
    this.#timer = this.#start();
  }

  stop(): void {
    this.lapsed = false;
    this.#timer.stop();
  }

  #start(): Timer {
    return this.clock.after(this.limitMs, () => {
      this.lapsed = true;
      this.onLapse();
    });
  }
}
