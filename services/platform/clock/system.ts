// SPDX-License-Identifier: Apache-2.0
import { performance } from 'node:perf_hooks';
import type { Clock } from './clock.js';

/** A longer delay makes Node's setTimeout fire at once. */
const MOST_MS = 2 ** 31 - 1;

/** The machine's own clocks. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallTime: () => new Date(),
  after(delayMs, fire) {
    let leftMs = delayMs;
    let handle: NodeJS.Timeout;
    const arm = (): void => {
      const stepMs = Math.min(leftMs, MOST_MS);
      leftMs -= stepMs;
      handle = setTimeout(leftMs > 0 ? arm : fire, stepMs);
    };
    arm();
    return {
      stop: () => {
        clearTimeout(handle);
      },
    };
  },
};
