// SPDX-License-Identifier: Apache-2.0
import { sleep, type Clock, type Timer } from '../clock/clock.js';
import type { Logger } from '../log/log.js';
import { DEFAULT_CALL_LIMIT_MS, type StoreCalls } from './calls.js';
import {
  LeaseLost,
  StoreError,
  type CallOptions,
  type Entry,
  type Lease,
  type LeaseEnd,
  type LeaseOptions,
} from './store.js';

export interface LeaseEnv {
  clock: Clock;
  /** Hears of renewals that fail; without it only a lease that was lost tells. */
  log?: Logger | undefined;
}

/** A session of ours, and when the store was last asked to keep it: from then its TTL may count. */
export interface Session {
  id: string;
  renewedAtMs: number;
}

/** A lock that is held: renews its session until it is released or lost. */
export class RenewedLease implements Lease {
  readonly key: string;
  readonly session: string;
  readonly value: string;
  readonly index: bigint;
  readonly lost: AbortSignal;
  readonly #end = new AbortController();
  #renewedAtMs: number;
  #expiry: Timer | undefined;
  #lastTrouble: unknown;
  #release: Promise<void> | undefined;

  private readonly clock: Clock;
  private readonly log: Logger | undefined;

  constructor(
    private readonly calls: StoreCalls,
    { clock, log }: LeaseEnv,
    private readonly options: LeaseOptions,
    session: Session,
    entry: Entry,
  ) {
    this.clock = clock;
    this.log = log;
    this.key = options.key;
    this.session = session.id;
    this.value = entry.value;
    this.index = entry.index;
    this.lost = this.#end.signal;
    this.#renewedAtMs = session.renewedAtMs;
    this.#extend(session.renewedAtMs);
    void this.#keepRenewed();
  }

  renewedAtMs(): number {
    return this.#renewedAtMs;
  }

  release(): Promise<void> {
    this.#release ??= this.#giveUp();
    return this.#release;
  }

  /** The store's count starts when it hears of a renewal, ours when it was sent, so ours always ends first. */
  #extend(sentAtMs: number): void {
    this.#renewedAtMs = sentAtMs;
    this.#expiry?.stop();
    const leftMs = this.#leftMs();
    if (leftMs <= 0) {
      this.#lose('expired');
    } else {
      this.#expiry = this.clock.after(leftMs, () => {
        this.#lose('expired');
      });
    }
  }

  #leftMs(): number {
    return this.#renewedAtMs + this.options.giveUpAfterMs - this.clock.nowMs();
  }

  #lose(end: LeaseEnd): void {
    if (this.lost.aborted) return;
    this.#expiry?.stop();
    const cause = end === 'expired' && this.#lastTrouble !== undefined ? { cause: this.#lastTrouble } : {};
    this.#end.abort(new LeaseLost(this.key, end, cause));
  }

  /** Never rejects: whatever keeps it from renewing ends in the lease's expiry. */
  async #keepRenewed(): Promise<void> {
    const { renewEveryMs } = this.options;
    let nextAtMs = this.#renewedAtMs + renewEveryMs;
    try {
      while (!this.lost.aborted) {
        await sleep(this.clock, Math.max(0, nextAtMs - this.clock.nowMs()), this.lost);
        this.options.onRenewal?.(this.clock.nowMs() - nextAtMs);
        const renewed = await this.#renewOnce();
        // Several tries fit between a failed renewal and the end.
        nextAtMs = renewed ? this.#renewedAtMs + renewEveryMs : this.clock.nowMs() + renewEveryMs / 10;
      }
    } catch {
      // The sleep was cut short because the lease ended: there is nothing left to renew.
    }
  }

  async #renewOnce(): Promise<boolean> {
    const sentAtMs = this.clock.nowMs();
    const limitMs = this.options.renewEveryMs / 2;
    const call = { deadlineMs: limitMs, signal: this.lost };
    try {
      if (!(await this.calls.renewSession(this.session, call))) {
        this.#lose('session-gone');
        return false;
      }
      this.#extend(sentAtMs);
    } catch (error) {
      this.#note(error);
      return false;
    }
    // The session lives; somebody may have taken the key away from it all the same (an operator, by hand).
    try {
      const entry = await this.calls.get(this.key, { ...call, consistency: 'consistent' });
      if (entry?.session !== this.session) this.#lose('taken');
    } catch (error) {
      this.#note(error);
    }
    return true;
  }

  #note(error: unknown): void {
    if (this.lost.aborted) return;
    this.#lastTrouble = error;
    this.log?.warn('lease could not be renewed', { key: this.key, leftMs: Math.round(this.#leftMs()), error });
  }

  async #giveUp(): Promise<void> {
    this.#lose('released');
    const call = { deadlineMs: DEFAULT_CALL_LIMIT_MS };
    try {
      await this.#unlock(call);
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
      this.log?.warn('lock could not be given up; the end of its session frees it', { key: this.key, error });
    }
    await this.calls.destroySession(this.session, call);
  }

  /** Before the session ends, as the lock delay is for holders that vanished. The key keeps its value. */
  async #unlock(call: CallOptions): Promise<void> {
    const { key, session } = this;
    const entry = await this.calls.get(key, { ...call, consistency: 'consistent' });
    if (entry?.session !== session) return;
    await this.calls.txn(
      [
        { op: 'check', key, index: entry.index },
        { op: 'unlock', key, value: entry.value, session },
      ],
      call,
    );
  }
}
