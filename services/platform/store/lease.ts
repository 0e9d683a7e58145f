// SPDX-License-Identifier: Apache-2.0
import { Cancelled, sleep, type Clock } from '../clock/clock.js';
import { DEFAULT_CALL_LIMIT_MS, type StoreCalls } from './calls.js';
import { RenewedLease, type LeaseEnv, type Session } from './renewed-lease.js';
import { LockHeld, StoreError, type CallOptions, type Entry, type Lease, type LeaseOptions } from './store.js';

const DEFAULT_TRIES = 5;
const DEFAULT_RETRY_EVERY_MS = 1_000;
/** Short, as the caller waits for it although the lock was not had. */
const ABANDON_LIMIT_MS = 1_000;

/** {@link Store.acquire}, for every driver. */
export async function acquireLease(
  calls: StoreCalls,
  { clock, log }: LeaseEnv,
  options: LeaseOptions,
): Promise<Lease> {
  checkTimes(options);
  const { tries = DEFAULT_TRIES, retryEveryMs = DEFAULT_RETRY_EVERY_MS, signal } = options;
  const taking = new LockTaking(calls, clock, options);
  try {
    let refusal: LockHeld | StoreError | undefined;
    for (let attempt = 1; attempt <= tries; attempt++) {
      if (attempt > 1) await sleep(clock, retryEveryMs, signal);
      const result = await taking.attempt();
      if ('session' in result) {
        return new RenewedLease(calls, { clock, log }, options, result.session, result.entry);
      }
      refusal = result.trouble ?? new LockHeld(options.key, result.holder, attempt);
    }
    throw refusal ?? new StoreError('invalid', 'a lock needs at least one try');
  } catch (error) {
    await taking.abandon();
    throw signal?.aborted === true ? new Cancelled(`lock ${options.key}`, signal.reason) : error;
  }
}

function checkTimes({ key, ttlMs, renewEveryMs, giveUpAfterMs }: LeaseOptions): void {
  if (renewEveryMs > 0 && renewEveryMs < giveUpAfterMs && giveUpAfterMs < ttlMs) return;
  const times = `${String(renewEveryMs)}, ${String(giveUpAfterMs)}, ${String(ttlMs)}`;
  const rule = '0 < renewEveryMs < giveUpAfterMs < ttlMs';
  throw new StoreError('invalid', `lease on ${key}: ${rule} does not hold for ${times}`);
}

type AttemptResult =
  | { session: Session; entry: Entry }
  | { holder: string | undefined; trouble?: StoreError };

/** The tries of one acquisition. They share a session, which is made only once the lock looks free. */
class LockTaking {
  #session: Session | undefined;
  readonly #call: CallOptions;

  constructor(
    private readonly calls: StoreCalls,
    private readonly clock: Clock,
    private readonly options: LeaseOptions,
  ) {
    const deadlineMs = Math.min(DEFAULT_CALL_LIMIT_MS, options.giveUpAfterMs);
    this.#call = { deadlineMs, signal: options.signal };
  }

  /** One try. Throws only what no further try can mend. */
  async attempt(): Promise<AttemptResult> {
    try {
      return await this.#take();
    } catch (error) {
      const mendable = error instanceof StoreError && error.kind !== 'denied' && error.kind !== 'invalid';
      if (!mendable || this.options.signal?.aborted === true) throw error;
      return { holder: undefined, trouble: error };
    }
  }

  /** Ends the session, if one was made, as far as the store can be reached; otherwise its TTL ends it. */
  async abandon(): Promise<void> {
    if (this.#session === undefined) return;
    try {
      await this.calls.destroySession(this.#session.id, { deadlineMs: ABANDON_LIMIT_MS });
    } catch (error) {
      if (!(error instanceof StoreError)) throw error;
    }
  }

  async #take(): Promise<AttemptResult> {
    const { key, value } = this.options;
    const before = await this.#readLock();
    const alreadyOurs = this.#asTaken(before);
    if (alreadyOurs !== undefined) return alreadyOurs;
    if (before?.session !== undefined) {
      if (this.options.takesOver?.(before.value) === true) await this.calls.destroySession(before.session, this.#call);
      return { holder: before.value };
    }

    const session = await this.#liveSession();
    const written = value(before?.value);
    try {
      const result = await this.calls.txn(
        [
          { op: 'check', key, index: before?.index ?? 0n },
          { op: 'lock', key, value: written, session: session.id },
        ],
        this.#call,
      );
      if (result.outcome === 'committed') {
        return this.#stillGood({ session, entry: { key, value: written, index: result.index, session: session.id } });
      }
    } catch (error) {
      // The answer was lost, perhaps not the write: the key says whose it is.
      if (!(error instanceof StoreError) || error.kind !== 'unknown-outcome') throw error;
      const taken = this.#asTaken(await this.#readLock());
      if (taken === undefined) throw error;
      return taken;
    }
    const winner = await this.#readLock();
    return this.#asTaken(winner) ?? { holder: winner?.session === undefined ? undefined : winner.value };
  }

  #readLock(): Promise<Entry | undefined> {
    return this.calls.get(this.options.key, { ...this.#call, consistency: 'consistent' });
  }

  #asTaken(entry: Entry | undefined): AttemptResult | undefined {
    const session = this.#session;
    if (entry === undefined || session === undefined || entry.session !== session.id) return undefined;
    return this.#stillGood({ session, entry });
  }

  /** Taking may have lasted so long that the lease would be over at its start. */
  #stillGood(taken: { session: Session; entry: Entry }): AttemptResult {
    if (this.clock.nowMs() - taken.session.renewedAtMs < this.options.giveUpAfterMs) return taken;
    const trouble = new StoreError('deadline', `lease on ${this.options.key}: taken too late to be relied upon`);
    return { holder: undefined, trouble };
  }

  async #liveSession(): Promise<Session> {
    const sentAtMs = this.clock.nowMs();
    const kept = this.#session;
    if (kept !== undefined && (await this.calls.renewSession(kept.id, this.#call))) {
      kept.renewedAtMs = sentAtMs;
      return kept;
    }
    const { name, ttlMs, lockDelayMs, tieToNodeHealth = false } = this.options;
    const id = await this.calls.createSession({ name, ttlMs, lockDelayMs, tieToNodeHealth }, this.#call);
    this.#session = { id, renewedAtMs: sentAtMs };
    return this.#session;
  }
}
