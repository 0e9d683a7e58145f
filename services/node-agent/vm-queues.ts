// SPDX-License-Identifier: Apache-2.0
import { LockstepError } from '../core/errors/catalogue.js';
import type { Clock } from '../platform/clock/clock.js';

/** More orders than this cannot wait for one VM; leaders send one at a time. */
const QUEUE_LIMIT = 32;
/** Longer than the longest single step: a Finish that does not answer. */
const WAIT_LIMIT_MS = 45_000;

interface Waiting {
  start: () => void;
}

interface Lane {
  busy: boolean;
  waiting: Waiting[];
}

/**
 * Works what concerns one VM one after another, and different VMs independently. What has begun is always finished: a
 * caller that leaves stops nothing. Each piece of work bounds itself by the deadlines of its calls.
 */
export class VmQueues {
  readonly #lanes = new Map<string, Lane>();

  constructor(private readonly clock: Clock) {}

  /** Fails with QUEUE_FULL, or with DEADLINE where its turn did not come; then nothing was done. */
  async run<T>(vmId: string, what: string, work: () => Promise<T>): Promise<T> {
    const lane = this.#lane(vmId);
    if (lane.busy) await this.#turn(lane, vmId, what);
    lane.busy = true;
    try {
      return await work();
    } finally {
      const next = lane.waiting.shift();
      if (next === undefined) {
        this.#lanes.delete(vmId);
      } else {
        next.start();
      }
    }
  }

  #lane(vmId: string): Lane {
    let lane = this.#lanes.get(vmId);
    if (lane === undefined) {
      lane = { busy: false, waiting: [] };
      this.#lanes.set(vmId, lane);
    }
    return lane;
  }

  #turn(lane: Lane, vmId: string, what: string): Promise<void> {
    if (lane.waiting.length >= QUEUE_LIMIT) {
      throw new LockstepError('QUEUE_FULL', `${what}: ${String(QUEUE_LIMIT)} orders wait for this VM`, { vm: vmId });
    }
    return new Promise((resolve, reject) => {
      const timer = this.clock.after(WAIT_LIMIT_MS, () => {
        lane.waiting.splice(lane.waiting.indexOf(waiting), 1);
        const message = `${what}: an earlier order on this VM is still being worked on`;
        reject(new LockstepError('DEADLINE', message, { vm: vmId }));
      });
      const waiting: Waiting = {
        start: () => {
          timer.stop();
          resolve();
        },
      };
      lane.waiting.push(waiting);
    });
  }
}
