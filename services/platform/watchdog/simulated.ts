// SPDX-License-Identifier: Apache-2.0
import type { Clock, Timer } from '../clock/clock.js';
import type { Watchdog } from './watchdog.js';

/** A watchdog that a test can look at. */
export interface SimulatedWatchdog extends Watchdog {
  readonly isArmed: boolean;
  fed: number;
}

/** Calls `onExpiry` once where it was armed and is not fed in time. */
export function createSimulatedWatchdog(options: { clock: Clock; timeoutMs: number; onExpiry: () => void }): SimulatedWatchdog {
  const { clock, timeoutMs, onExpiry } = options;
  let timer: Timer | undefined;
  const count = (): void => {
    timer?.stop();
    timer = clock.after(timeoutMs, () => {
      timer = undefined;
      onExpiry();
    });
  };
  const watchdog = {
    path: 'simulated watchdog',
    fed: 0,
    get isArmed() {
      return timer !== undefined;
    },
    timeoutMs: () => Promise.resolve(timeoutMs),
    arm: () => {
      count();
      return Promise.resolve({
        feed: () => {
          watchdog.fed += 1;
          count();
          return Promise.resolve();
        },
        disarm: () => {
          timer?.stop();
          timer = undefined;
          return Promise.resolve();
        },
      });
    },
  };
  return watchdog;
}
