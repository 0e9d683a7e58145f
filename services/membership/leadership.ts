// SPDX-License-Identifier: Apache-2.0
import { LeaderRole, type Leader } from '@lockstep/sdk/v1';
import { LockstepError } from '../core/errors/catalogue.js';
import { leaderCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { sleep, withDeadline } from '../platform/clock/clock.js';
import { heardByMany } from '../platform/clock/heard-by-many.js';
import type { Env } from '../platform/env.js';
import type { Logger } from '../platform/log/log.js';
import { LockHeld, type Entry, type Lease, type TxnOp } from '../platform/store/store.js';
import { refusalOf, storeTrouble } from '../platform/store/trouble.js';
import { createBackOff, isAborted } from './back-off.js';
import { follow } from './follow.js';

export type LeaderRoleName = 'scheduler' | 'fencer';

/** How the leadership is kept. Times in milliseconds of this process's monotonic clock. */
export interface LeadershipTimings {
  /** The store may free the leadership this long after the last renewal, and not before. */
  ttlMs: number;
  renewEveryMs: number;
  /** The term ends this long after the last renewal that succeeded was sent. */
  giveUpAfterMs: number;
  /** How long the store keeps the leadership from others after it was lost. */
  lockDelayMs: number;
  /** How long `lead` has to end after its term ended, before the next attempt to lead. */
  endLimitMs: number;
  /** How often a follower tries although it did not hear that the leadership is free. */
  recheckEveryMs: number;
}

export const LEADERSHIP_TIMINGS: LeadershipTimings = {
  ttlMs: 15_000,
  renewEveryMs: 5_000,
  giveUpAfterMs: 12_000,
  lockDelayMs: 1_000,
  endLimitMs: 10_000,
  recheckEveryMs: 5_000,
};

/** One time of leading, from taking the lock to its loss. */
export interface Term {
  /** Goes into the header of every order and question to an agent. */
  readonly leaderEpoch: bigint;
  readonly session: string;
  readonly lockKey: string;
  /** Aborts at the moment nothing may be done in this term's name any more; the reason is a LockstepError and says why. */
  readonly ended: AbortSignal;
  /** When the renewal that last succeeded was sent, by this process's clock: the store answered later than that. */
  renewedAtMs(): number;
  /**
   * Says that an agent knows of a higher epoch of this role. Either a newer leader exists, or the store was put back to
   * an older state. Ends the term; the next one of this replica is above that epoch.
   */
  overtaken(leaderEpoch: bigint): void;
}

/** Who leads, as this replica knows it. */
export type LeaderView =
  | { kind: 'self'; epoch: bigint; session: string; sinceMs: number }
  | { kind: 'other'; address: string; name: string; epoch: bigint }
  /** `trouble`: why this replica cannot know; undefined where the store says that nobody leads. */
  | { kind: 'none'; trouble?: LockstepError | undefined };

export interface LeadershipOptions {
  env: Pick<Env, 'clock' | 'random' | 'store' | 'log'>;
  role: LeaderRoleName;
  /** This replica's name. */
  name: string;
  /** Where this replica can be called, host:port. */
  address: string;
  /**
   * Does the leader's work until `term.ended` aborts, then ends in order. Ending earlier, or failing, gives the
   * leadership up; it is tried again after a pause.
   */
  lead: (term: Term) => Promise<void>;
  timings?: Partial<LeadershipTimings>;
}

export interface Leadership {
  leader(): LeaderView;
  /** Ends the term, if there is one, in order; gives the lock up; follows nobody any more. Repeating it waits along. */
  close(): Promise<void>;
}

/** The step that makes a transaction fail unless the term's session still holds the leadership (INV-4). */
export function check(term: Pick<Term, 'lockKey' | 'session'>): TxnOp {
  return { op: 'check-session', key: term.lockKey, session: term.session };
}

/** Runs for the leadership of a role from now on until it is closed. Trouble is logged and tried again, for ever. */
export function createLeadership(options: LeadershipOptions): Leadership {
  return new Candidate(options);
}

const ROLES = { scheduler: LeaderRole.SCHEDULER, fencer: LeaderRole.FENCER } as const;
const TROUBLE = { firstMs: 500, mostMs: 10_000 };
/** Tries of one acquisition of a lock that looks free; together they outlast the lock delay. */
const TRIES = 5;

class Candidate implements Leadership {
  readonly #env: LeadershipOptions['env'];
  readonly #options: LeadershipOptions;
  readonly #timings: LeadershipTimings;
  readonly #log: Logger;
  readonly #lockKey: string;
  readonly #closing = new AbortController();
  readonly #done: Promise<unknown>;
  #term: { term: Term; sinceMs: number } | undefined;
  #holder: { leader: Leader; session: string } | undefined;
  /** What keeps this replica from hearing who leads; undefined while it hears. */
  #trouble: LockstepError | undefined;
  /** No epoch at or under this one is taken: the highest that an agent ever told us of. */
  #heardEpoch = 0n;
  #wakeCampaign: () => void = () => undefined;

  constructor(options: LeadershipOptions) {
    this.#options = options;
    this.#env = options.env;
    this.#timings = { ...LEADERSHIP_TIMINGS, ...options.timings };
    this.#log = options.env.log.child('leadership');
    this.#lockKey = keys.leader(options.role);
    const signal = this.#closing.signal;
    const following = follow(
      this.#env,
      {
        prefix: this.#lockKey,
        what: 'who leads',
        signal,
        log: this.#log,
        onTrouble: (error) => {
          this.#trouble = refusalOf(error);
        },
      },
      ({ entries }) => {
        this.#trouble = undefined;
        this.#note(entries.find(({ key }) => key === this.#lockKey));
      },
    );
    this.#done = Promise.all([following, this.#campaign()]);
  }

  leader(): LeaderView {
    if (this.#term !== undefined) {
      const { term, sinceMs } = this.#term;
      return { kind: 'self', epoch: term.leaderEpoch, session: term.session, sinceMs };
    }
    if (this.#holder === undefined) return { kind: 'none', trouble: this.#trouble };
    const { address, name, leaderEpoch } = this.#holder.leader;
    // A term of ours that is over, or not begun, or of this replica's life before.
    if (address === this.#options.address) return { kind: 'none' };
    return { kind: 'other', address, name, epoch: leaderEpoch };
  }

  async close(): Promise<void> {
    this.#closing.abort(new LockstepError('STOPPING', 'this replica is closing'));
    await this.#done;
  }

  /** Callers can be told who leads, and a leadership that is free is noticed at once. */
  #note(entry: Entry | undefined): void {
    if (entry?.session === undefined) {
      this.#holder = undefined;
      this.#wakeCampaign();
      return;
    }
    const leader = leaderCodec.decode(entry.value, entry.index);
    const isNews = this.#holder?.session !== entry.session;
    this.#holder = { leader, session: entry.session };
    if (isNews && this.leader().kind === 'other') {
      this.#log.info('follows', { leader: leader.name, address: leader.address, leaderEpoch: leader.leaderEpoch });
    }
  }

  async #campaign(): Promise<void> {
    const backOff = createBackOff(this.#env, TROUBLE);
    const signal = this.#closing.signal;
    while (!isAborted(signal)) {
      try {
        await this.#serve(await this.#take());
        backOff.reset();
      } catch (error) {
        if (isAborted(signal)) return;
        if (error instanceof LockHeld) {
          await this.#freedOrTimeToLook();
          continue;
        }
        this.#log.error('cannot lead', { error: storeTrouble(error) });
        await backOff.pause(signal);
      }
    }
  }

  #take(): Promise<Lease> {
    const { ttlMs, renewEveryMs, giveUpAfterMs, lockDelayMs } = this.#timings;
    return this.#env.store.acquire({
      key: this.#lockKey,
      value: (previous) => this.#nextValue(previous),
      name: `lockstep ${this.#options.role} ${this.#options.name}`,
      ttlMs,
      renewEveryMs,
      giveUpAfterMs,
      lockDelayMs,
      tries: this.#holder === undefined ? TRIES : 1,
      retryEveryMs: Math.max(100, lockDelayMs / 2),
      // A dead host's leader is followed as soon as the store's membership knows, not only once its TTL has lapsed.
      tieToNodeHealth: true,
      signal: this.#closing.signal,
    });
  }

  /** Fails on a value it cannot read: beginning again at 1 would make this leader powerless and its orders stale. */
  #nextValue(previous: string | undefined): string {
    const { role, name, address } = this.#options;
    const before = previous === undefined ? 0n : leaderCodec.decode(previous, 0n).leaderEpoch;
    const highest = before > this.#heardEpoch ? before : this.#heardEpoch;
    return leaderCodec.encode({ role: ROLES[role], name, address, leaderEpoch: highest + 1n });
  }

  /** A whole term: begins it, lets it be led, and sees it to its orderly end. Fails where `lead` ended too early. */
  async #serve(lease: Lease): Promise<void> {
    const ended = new AbortController();
    heardByMany(ended.signal);
    const { leaderEpoch } = leaderCodec.decode(lease.value, lease.index);
    const end = (reason: unknown): void => {
      if (this.#term?.term === term) this.#term = undefined;
      ended.abort(reason);
    };
    const onLost = (): void => {
      end(leadsNoMore(lease.lost.reason));
    };
    const onClosing = (): void => {
      end(this.#closing.signal.reason);
    };
    const term: Term = {
      leaderEpoch,
      session: lease.session,
      lockKey: lease.key,
      ended: ended.signal,
      renewedAtMs: () => lease.renewedAtMs(),
      overtaken: (heard) => {
        if (heard <= leaderEpoch) return;
        if (heard > this.#heardEpoch) this.#heardEpoch = heard;
        end(leadsNoMore(new Error(`an agent knows of leader epoch ${String(heard)}`)));
      },
    };

    this.#term = { term, sinceMs: this.#env.clock.nowMs() };
    lease.lost.addEventListener('abort', onLost, { once: true });
    this.#closing.signal.addEventListener('abort', onClosing, { once: true });
    if (lease.lost.aborted) onLost();
    if (this.#closing.signal.aborted) onClosing();
    try {
      this.#log.ok('leads', { leaderEpoch });
      await this.#lead(term);
    } finally {
      lease.lost.removeEventListener('abort', onLost);
      this.#closing.signal.removeEventListener('abort', onClosing);
      end(leadsNoMore(new Error('the leader stopped leading')));
      await this.#release(lease);
    }
  }

  async #lead(term: Term): Promise<void> {
    const { lead, role } = this.#options;
    let failure: unknown;
    const leading = lead(term).catch((error: unknown) => {
      failure = error;
    });
    await Promise.race([leading, aborted(term.ended)]);
    if (!term.ended.aborted) throw new Error(`the ${role} stopped leading by itself`, { cause: failure });

    const reason: unknown = term.ended.reason;
    const why = reason instanceof Error ? reason.message : String(reason);
    this.#log.log(this.#closing.signal.aborted ? 'i' : 'w', 'leads no more', { leaderEpoch: term.leaderEpoch, why });
    const limitMs = this.#timings.endLimitMs;
    try {
      await withDeadline(this.#env.clock, { what: `end of term ${String(term.leaderEpoch)}`, limitMs }, () => leading);
    } catch (error) {
      // What is left of it cannot do harm: its session is gone and agents refuse its epoch once they heard the next.
      this.#log.error('the work of the last term has not ended', { error });
    }
    if (failure !== undefined) this.#log.debug('the term ended with', { error: failure });
  }

  async #release(lease: Lease): Promise<void> {
    try {
      await lease.release();
    } catch (error) {
      this.#log.warn('could not give the leadership up; it ends by its TTL', { error });
    }
  }

  async #freedOrTimeToLook(): Promise<void> {
    const rest = new AbortController();
    const wake = (): void => {
      rest.abort();
    };
    this.#wakeCampaign = wake;
    this.#closing.signal.addEventListener('abort', wake, { once: true });
    try {
      await sleep(this.#env.clock, this.#timings.recheckEveryMs, rest.signal);
    } catch (error) {
      if (!rest.signal.aborted) throw error;
    } finally {
      this.#closing.signal.removeEventListener('abort', wake);
      this.#wakeCampaign = () => undefined;
    }
  }
}

/** Whoever is still being served when a term ends is told so in words of the API. */
function leadsNoMore(why: unknown): LockstepError {
  const message = why instanceof Error ? why.message : String(why);
  return new LockstepError('NOT_LEADER', `this replica leads no more: ${message}`, {}, { cause: why });
}

function aborted(signal: AbortSignal): Promise<void> {
  if (signal.aborted) return Promise.resolve();
  return new Promise((resolve) => {
    signal.addEventListener(
      'abort',
      () => {
        resolve();
      },
      { once: true },
    );
  });
}
