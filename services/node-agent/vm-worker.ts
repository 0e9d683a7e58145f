// SPDX-License-Identifier: Apache-2.0
import { VmDesired, type VmState } from '@lockstep/sdk/v1';
import type { Domain } from '../platform/hypervisor/hypervisor.js';
import { isActive } from './domain-states.js';
import type { VmHistory, Wish } from './vm-step.js';

/** What is known of a VM beyond its domain. */
export interface KnownBetter {
  state: VmState | undefined;
  reason: string;
  detail: string;
}

const RESTART_BACKOFF_MOST_MS = 60_000;
/** A lock goes with the process that holds it, and asking for it costs little. */
const LOCKED_BACKOFF_MOST_MS = 15_000;

/** One VM's wish, what was seen and done about it, and who waits for it. */
export class VmWorker {
  wish: Wish | undefined;
  /** A pass runs; `dirty` asks for another one. */
  busy = false;
  dirty = false;
  /** Shown instead of what the domain alone tells. */
  known: KnownBetter | undefined;
  /** The domain as last read by a pass; undefined before the first. */
  seen: { domain: Domain | undefined } | undefined;
  readonly history: VmHistory = freshHistory();
  #activeSinceMs: number | undefined;
  readonly #waiters = new Set<() => void>();

  constructor(
    readonly vmId: string,
    private readonly timing: { restartBackoffMs: number; stableAfterMs: number },
  ) {}

  /** A changed wish forgives what failed under the last one; the same wish again changes nothing. */
  assign(wish: Wish): void {
    const before = this.wish;
    this.wish = wish;
    const same = before?.desired === wish.desired && before.placementEpoch === wish.placementEpoch;
    if (same) return;
    const { definedXml, stopping } = this.history;
    const stillStopping = wish.desired === VmDesired.RUNNING ? stopping : undefined;
    Object.assign(this.history, freshHistory(), { definedXml, stopping: stillStopping });
    this.#activeSinceMs = undefined;
    this.known = undefined;
  }

  /** It was started: where the next look finds it off, it ended by itself, however quickly that was. */
  started(nowMs: number): void {
    this.#activeSinceMs = nowMs;
    this.history.wasActive = true;
  }

  /** Takes in what a pass has read: an end that nobody asked for counts against the restarts. */
  observe(domain: Domain | undefined, nowMs: number): void {
    this.seen = { domain };
    const { history } = this;
    if (domain !== undefined && isActive(domain.state)) {
      if (domain.placementEpoch !== this.wish?.placementEpoch) return;
      this.#activeSinceMs ??= nowMs;
      history.wasActive = true;
      history.lockedTries = 0;
      if (nowMs - this.#activeSinceMs >= this.timing.stableAfterMs) history.failures = 0;
      return;
    }
    const ended = this.#activeSinceMs !== undefined;
    this.#activeSinceMs = undefined;
    if (history.stopping !== undefined) {
      // It was told to: a later wish to run begins anew.
      if (this.wish?.desired === VmDesired.RUNNING) history.stopping = undefined;
      history.wasActive = false;
    } else if (ended) {
      this.countFailure(nowMs, 'it ended by itself');
    }
  }

  countFailure(nowMs: number, why: string): void {
    const { history } = this;
    const backoffMs = Math.min(this.timing.restartBackoffMs * 2 ** history.failures, RESTART_BACKOFF_MOST_MS);
    history.failures += 1;
    history.lastFailure = why;
    history.notBeforeMs = nowMs + backoffMs;
  }

  /** Its storage is locked by a copy elsewhere: neither this host's fault nor the guest's, so it uses up nothing. */
  postponeLocked(nowMs: number): void {
    const { history } = this;
    history.notBeforeMs = nowMs + Math.min(this.timing.restartBackoffMs * 2 ** history.lockedTries, LOCKED_BACKOFF_MOST_MS);
    history.lockedTries += 1;
  }

  /** Calls `listener` after every pass; returns how to leave. */
  onPass(listener: () => void): () => void {
    this.#waiters.add(listener);
    return () => {
      this.#waiters.delete(listener);
    };
  }

  /** Nothing is wanted or known of its VM, and nobody waits: whatever comes next begins with another worker. */
  get idle(): boolean {
    return this.wish === undefined && this.known === undefined && !this.busy && !this.dirty && this.#waiters.size === 0;
  }

  passed(): void {
    for (const listener of [...this.#waiters]) listener();
  }
}

function freshHistory(): VmHistory {
  return {
    ...{ definedXml: undefined, wasActive: false, failures: 0, lastFailure: '', lockedTries: 0 },
    ...{ notBeforeMs: 0, stopping: undefined },
  };
}
