// SPDX-License-Identifier: Apache-2.0
import { monitorEventLoopDelay } from 'node:perf_hooks';

/** Watches how long the event loop is held up. */
export interface LoopDelay {
  /** The longest time it was held up since the last call, in milliseconds. */
  worstMs(): number;
  stop(): void;
}

const RESOLUTION_MS = 20;

/** Watches this process's event loop. Each reader has its own: reading starts the count anew. */
export function watchLoopDelay(): LoopDelay {
  const histogram = monitorEventLoopDelay({ resolution: RESOLUTION_MS });
  histogram.enable();
  return {
    worstMs: () => {
      // The sampler's own interval is part of what it measures.
      const worstMs = histogram.count === 0 ? 0 : Math.max(0, histogram.max / 1e6 - RESOLUTION_MS);
      histogram.reset();
      return worstMs;
    },
    stop: () => {
      histogram.disable();
    },
  };
}
