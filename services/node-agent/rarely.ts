// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../platform/clock/clock.js';

/** Something that every tick asks for and that is done less often: what it starts costs more than a tick may. */
export class Rarely {
  #dueMs = 0;

  constructor(
    private readonly clock: Clock,
    private readonly everyMs: number,
    private readonly work: () => void,
  ) {}

  look(): void {
    const nowMs = this.clock.nowMs();
    if (nowMs < this.#dueMs) return;
    this.#dueMs = nowMs + this.everyMs;
    this.work();
  }
}
