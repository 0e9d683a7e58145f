// SPDX-License-Identifier: Apache-2.0
import type { VmReport, WatchNodeResponse } from '@lockstep/sdk/v1';
import { LockstepError } from '../core/errors/catalogue.js';
import type { Clock } from '../platform/clock/clock.js';
import { Bell } from './bell.js';
import type { NodePresence } from './presence.js';
import { sameReport } from './reports.js';

/** More watchers than the cluster has leaders and people who look. */
const WATCHERS_LIMIT = 64;

/** Serves those who watch the node. */
export class Watchers {
  readonly #bells = new Set<Bell>();
  #leaders = 0;

  constructor(
    private readonly clock: Clock,
    private readonly presence: NodePresence,
    private readonly heartbeatMs: number,
    /** Told how late each heartbeat is, against plan. */
    private readonly onHeartbeat: (latenessMs: number) => void,
  ) {}

  /** Something may have changed. Cheap: whoever is woken looks once, at what is there then. */
  wake(): void {
    for (const bell of this.#bells) bell.ring();
  }

  /** Whether a leader of the Scheduler's role has its stream open, as it always has while it leads. */
  get leaderWatches(): boolean {
    return this.#leaders > 0;
  }

  /**
   * A snapshot, then what differs from what this watcher has, with a heartbeat at least every `heartbeatMs`. Nothing
   * is queued: a slow watcher gets the difference to the newest state, so it neither falls behind nor costs memory.
   */
  async *watch(signal: AbortSignal, byLeader = false): AsyncGenerator<WatchNodeResponse> {
    if (this.#bells.size >= WATCHERS_LIMIT) {
      throw new LockstepError('QUEUE_FULL', `${String(WATCHERS_LIMIT)} streams watch this node already`);
    }
    const bell = new Bell(this.clock);
    this.#bells.add(bell);
    if (byLeader) this.#leaders += 1;
    try {
      let sent = this.#snapshot();
      let sequence = 1n;
      yield { node: this.presence.node(), vmsComplete: true, vms: [...sent.values()], vmsGone: [], sequence };
      for (;;) {
        const dueMs = this.clock.nowMs() + this.heartbeatMs;
        const changed = await bell.wait(this.heartbeatMs, signal);
        if (signal.aborted) return;
        if (!changed) this.onHeartbeat(this.clock.nowMs() - dueMs);
        sequence += 1n;
        if (changed) {
          const now = this.#snapshot();
          yield { node: this.presence.node(), vmsComplete: false, ...difference(sent, now), sequence };
          sent = now;
        } else {
          yield { node: undefined, vmsComplete: false, vms: [], vmsGone: [], sequence };
        }
      }
    } finally {
      if (byLeader) this.#leaders -= 1;
      this.#bells.delete(bell);
    }
  }

  #snapshot(): Map<string, VmReport> {
    return new Map(this.presence.vms().map((report) => [report.vmId, report]));
  }
}

function difference(
  before: ReadonlyMap<string, VmReport>,
  now: ReadonlyMap<string, VmReport>,
): Pick<WatchNodeResponse, 'vms' | 'vmsGone'> {
  const vms = [...now.values()].filter((report) => {
    const known = before.get(report.vmId);
    return known === undefined || !sameReport(known, report);
  });
  return { vms, vmsGone: [...before.keys()].filter((vmId) => !now.has(vmId)) };
}
