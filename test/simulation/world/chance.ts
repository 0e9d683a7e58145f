// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '@lockstep/services/platform/clock/clock.js';
import type { Random } from '@lockstep/services/platform/random/random.js';
import { createSeededRandom } from '@lockstep/services/platform/random/seeded.js';

/** Draws of one concern of a run, with a stream of its own, so that one concern's draws never shift another's. */
export class Chance {
  readonly random: Random;

  constructor(seed: string, clock: Clock) {
    this.random = createSeededRandom({ seed, clock });
  }

  /** True with this probability. */
  hit(probability: number): boolean {
    return probability > 0 && this.random.next() < probability;
  }

  between(least: number, most: number): number {
    return least + this.random.next() * (most - least);
  }

  whole(least: number, most: number): number {
    return Math.floor(this.between(least, most + 1));
  }

  /** Most draws are short, a few are long: what waiting times look like. */
  longTailed(meanMs: number, mostMs: number): number {
    return Math.min(mostMs, -Math.log(1 - this.random.next()) * meanMs);
  }

  pick<T>(from: readonly T[]): T | undefined {
    return from[Math.floor(this.random.next() * from.length)];
  }
}
