// SPDX-License-Identifier: Apache-2.0
import type { Node, VmReport, WatchNodeResponse } from '@lockstep/sdk/v1';
import { LockstepError } from '../core/errors/catalogue.js';
import type { Clock } from '../platform/clock/clock.js';
import { Bell } from './bell.js';
import type { NodePresence } from './presence.js';
import { sameReport } from './reports.js';

/** More watchers than the cluster has leaders and people who look. */
const WATCHERS_LIMIT = 64;

type Reports = ReadonlyMap<string, VmReport>;
type Difference = Pick<WatchNodeResponse, 'vms' | 'vmsGone'>;

/** The node as it is after one change. Those whom the change woke share it: hundreds of VMs are looked at once for all. */
interface State {
  node: Node;
  vms: Reports;
  /** By what a watcher was sent before, the same object for most of them. */
  since: Map<Reports, Difference>;
}

/** Serves those who watch the node. */
export class Watchers {
  readonly #bells = new Set<Bell>();
  #leaders = 0;
  /** Undefined: nobody has looked since the last change. */
  #state: State | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly presence: NodePresence,
    private readonly heartbeatMs: number,
    /** Told how late each heartbeat is, against plan. */
    private readonly onHeartbeat: (latenessMs: number) => void,
  ) {}

  /** Something may have changed. Cheap: whoever is woken looks once, at what is there then. */
  wake(): void {
    this.#state = undefined;
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
      let sent: Reports = this.#snapshot();
      let sequence = 1n;
      yield { node: this.presence.node(), vmsComplete: true, vms: [...sent.values()], vmsGone: [], sequence };
      for (;;) {
        const dueMs = this.clock.nowMs() + this.heartbeatMs;
        const changed = await bell.wait(this.heartbeatMs, signal);
        if (signal.aborted) return;
        if (!changed) this.onHeartbeat(this.clock.nowMs() - dueMs);
        sequence += 1n;
        if (changed) {
          const { node, vms, since } = this.#changedState();
          const changes = since.get(sent) ?? difference(sent, vms);
          since.set(sent, changes);
          sent = vms;
          yield { node, vmsComplete: false, ...changes, sequence };
        } else {
          yield { node: undefined, vmsComplete: false, vms: [], vmsGone: [], sequence };
        }
      }
    } finally {
      if (byLeader) this.#leaders -= 1;
      this.#bells.delete(bell);
    }
  }

  #changedState(): State {
    this.#state ??= { node: this.presence.node(), vms: this.#snapshot(), since: new Map() };
    return this.#state;
  }

  #snapshot(): Reports {
    return new Map(this.presence.vms().map((report) => [report.vmId, report]));
  }
}

function difference(before: Reports, now: Reports): Difference {
  const vms = [...now.values()].filter((report) => {
    const known = before.get(report.vmId);
    return known === undefined || !sameReport(known, report);
  });
  return { vms, vmsGone: [...before.keys()].filter((vmId) => !now.has(vmId)) };
}
