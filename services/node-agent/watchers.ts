// SPDX-License-Identifier: Apache-2.0
import type { Node, VmReport, WatchNodeResponse } from '@lockstep/sdk/v1';
import { LockstepError } from '../core/errors/catalogue.js';
import type { Clock } from '../platform/clock/clock.js';
import { Bell } from './bell.js';
import type { NodePresence } from './presence.js';
import { sameButAges } from './reports.js';

/** More watchers than the cluster has leaders and people who look. */
const WATCHERS_LIMIT = 64;
/** How old the ages may be that a watcher was told of a node of which nothing else changes. */
const AGES_TOLD_EVERY_MS = 10_000;

type Reports = ReadonlyMap<string, VmReport>;
type Difference = Pick<WatchNodeResponse, 'vms' | 'vmsGone'>;

const NO_DIFFERENCE: Difference = { vms: [], vmsGone: [] };

/** The node as it is after one change. Those whom the change woke share it: hundreds of VMs are looked at once for all. */
interface State {
  /** The same object as before where nothing but ages has changed. */
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
  /** As it was when those who watch were last woken. */
  #told: State | undefined;
  #looksSoon = false;
  #lastNode: { node: Node; atMs: number } | undefined;

  constructor(
    private readonly clock: Clock,
    private readonly presence: NodePresence,
    private readonly heartbeatMs: number,
    /** Told how late each heartbeat is, against plan. */
    private readonly onHeartbeat: (latenessMs: number) => void,
  ) {}

  /** Something may have changed. Cheap: what comes in one turn is looked at once, and nobody is woken for what is no news. */
  wake(): void {
    this.#state = undefined;
    if (this.#bells.size === 0) this.#told = undefined;
    if (this.#looksSoon || this.#bells.size === 0) return;
    this.#looksSoon = true;
    void Promise.resolve().then(() => {
      this.#looksSoon = false;
      if (this.#tellsNews()) for (const bell of this.#bells) bell.ring();
    });
  }

  /** Whether a leader of the Scheduler's role has its stream open, as it always has while it leads. */
  get leaderWatches(): boolean {
    return this.#leaders > 0;
  }

  /**
   * A snapshot, then what differs from what this watcher has, with a heartbeat at least every `heartbeatMs`. Nothing
   * is queued: a slow watcher gets the difference to the newest state, so it neither falls behind nor costs memory.
   * That something was looked at again and is as it was is no difference.
   */
  async *watch(signal: AbortSignal, byLeader = false): AsyncGenerator<WatchNodeResponse> {
    if (this.#bells.size >= WATCHERS_LIMIT) {
      throw new LockstepError('QUEUE_FULL', `${String(WATCHERS_LIMIT)} streams watch this node already`);
    }
    const bell = new Bell(this.clock);
    this.#bells.add(bell);
    if (byLeader) this.#leaders += 1;
    try {
      this.#state = this.#look();
      // It may differ from what the others were told: the next wake is for all.
      this.#told = undefined;
      let sent = this.#state;
      let sequence = 1n;
      yield { node: sent.node, vmsComplete: true, vms: [...sent.vms.values()], vmsGone: [], sequence };
      for (let dueMs = this.#nextHeartbeatMs(); ; ) {
        const rang = await bell.wait(Math.max(0, dueMs - this.clock.nowMs()), signal);
        if (signal.aborted) return;
        const state = this.#changedState();
        const changes = differenceOnce(sent, state);
        const changed = isNews(sent, state, changes);
        const lateMs = this.clock.nowMs() - dueMs;
        if (!changed && rang && lateMs < 0) continue;
        if (!changed) this.onHeartbeat(lateMs);
        sequence += 1n;
        yield { node: state.node === sent.node ? undefined : state.node, vmsComplete: false, ...changes, sequence };
        sent = state;
        dueMs = this.#nextHeartbeatMs();
      }
    } finally {
      if (byLeader) this.#leaders -= 1;
      this.#bells.delete(bell);
    }
  }

  #nextHeartbeatMs(): number {
    return this.clock.nowMs() + this.heartbeatMs;
  }

  /** Whether something differs from what it was at the last news. */
  #tellsNews(): boolean {
    const told = this.#told;
    try {
      const state = this.#changedState();
      this.#told = state;
      return told === undefined || isNews(told, state, differenceOnce(told, state));
    } catch {
      // Whoever is woken meets the same trouble, and tells it to whom it serves.
      return true;
    }
  }

  #changedState(): State {
    this.#state ??= this.#look();
    return this.#state;
  }

  #look(): State {
    const vms = new Map(this.presence.vms().map((report) => [report.vmId, report]));
    return { node: this.#node(), vms, since: new Map() };
  }

  #node(): Node {
    const node = this.presence.node();
    const last = this.#lastNode;
    const atMs = this.clock.nowMs();
    if (last !== undefined && atMs - last.atMs < AGES_TOLD_EVERY_MS && sameButAges(last.node, node)) return last.node;
    this.#lastNode = { node, atMs };
    return node;
  }
}

function isNews(before: State, now: State, { vms, vmsGone }: Difference): boolean {
  return now.node !== before.node || vms.length > 0 || vmsGone.length > 0;
}

/** Worked out for the first of those who were sent the same before. */
function differenceOnce({ vms: before }: State, { vms, since }: State): Difference {
  const known = since.get(before) ?? (before === vms ? NO_DIFFERENCE : difference(before, vms));
  since.set(before, known);
  return known;
}

function difference(before: Reports, now: Reports): Difference {
  const vms = [...now.values()].filter((report) => {
    const known = before.get(report.vmId);
    return known === undefined || !sameButAges(known, report);
  });
  return { vms, vmsGone: [...before.keys()].filter((vmId) => !now.has(vmId)) };
}
