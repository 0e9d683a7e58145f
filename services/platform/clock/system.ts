// SPDX-License-Identifier: Apache-2.0
import { performance } from 'node:perf_hooks';
import type { Clock } from './clock.js';

/** The machine's own clocks. */
export const systemClock: Clock = {
  nowMs: () => performance.now(),
  wallTime: () => new Date(),
  after(delayMs, fire) {
    const handle = setTimeout(fire, delayMs);
    return {
      stop: () => {
        clearTimeout(handle);
      },
    };
  },
};
