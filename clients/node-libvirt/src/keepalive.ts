// SPDX-License-Identifier: Apache-2.0
/** Notices a server that is silent: asks it after each quiet interval, and gives up after `count` in a row. */
export class Keepalive {
  readonly #timer: NodeJS.Timeout;
  #heard = true;
  #unanswered = 0;

  constructor(intervalMs: number, count: number, ping: () => void, dead: () => void) {
    // Counted by ticks and not by the clock: a process that slept for long must read its socket before it judges.
    this.#timer = setInterval(() => {
      if (this.#heard) {
        this.#heard = false;
        return;
      }
      if (this.#unanswered >= count) {
        this.stop();
        dead();
        return;
      }
      this.#unanswered += 1;
      ping();
    }, intervalMs);
  }

  /** Anything that arrives proves that the server lives. */
  heard(): void {
    this.#heard = true;
    this.#unanswered = 0;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}
