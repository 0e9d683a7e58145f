// SPDX-License-Identifier: Apache-2.0
import { Cancelled, type Clock, type Timer } from '../clock/clock.js';
import type { Random } from '../random/random.js';
import { conflictAt, type DriverOp, type SessionSpec } from './driver.js';
import type { Entry, Listing, Member, TxnResult } from './store.js';

interface Session extends SessionSpec {
  client: string;
  expiry: Timer;
}

interface Waiter {
  prefix: string;
  wake: () => void;
}

/** Deletions remembered for waiting queries; for one that asks further back, the answer comes early. */
const MAX_REMEMBERED_DELETIONS = 1_024;

/** A transaction's changes before they count: undefined stands for a deleted key. */
type Draft = Map<string, Entry | undefined>;

/** The state of the embedded store and its rules, which are Consul's: one index, sessions, locks, transactions. */
export class EmbeddedServer {
  #index = 1n;
  readonly #entries = new Map<string, Entry>();
  readonly #deletions: { key: string; index: bigint }[] = [];
  /** Deletions up to this index are forgotten. */
  #forgottenIndex = 0n;
  readonly #sessions = new Map<string, Session>();
  /** Until when a key whose holder vanished is kept from others. */
  readonly #lockDelays = new Map<string, number>();
  readonly #waiters = new Set<Waiter>();
  /** Clients by name, and whether the membership counts them among the living. */
  readonly #members = new Map<string, boolean>();

  constructor(
    private readonly clock: Clock,
    private readonly random: Random,
  ) {}

  get(key: string): Entry | undefined {
    const entry = this.#entries.get(key);
    return entry === undefined ? undefined : { ...entry };
  }

  list(prefix: string): Listing {
    const entries: Entry[] = [];
    for (const entry of this.#entries.values()) {
      if (entry.key.startsWith(prefix)) entries.push({ ...entry });
    }
    entries.sort((left, right) => (left.key < right.key ? -1 : 1));
    return { entries, index: this.#index };
  }

  /** Resolves once something under the prefix changed after `afterIndex`, or `waitMs` passed. */
  changed(
    prefix: string,
    { afterIndex, waitMs }: { afterIndex: bigint; waitMs: number },
    signal: AbortSignal,
  ): Promise<void> {
    if (this.#changedSince(prefix, afterIndex)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        timer.stop();
        signal.removeEventListener('abort', onAbort);
        this.#waiters.delete(waiter);
      };
      const onAbort = (): void => {
        settle();
        reject(new Cancelled(`wait for ${prefix}`, signal.reason));
      };
      const waiter = {
        prefix,
        wake: () => {
          settle();
          resolve();
        },
      };
      const timer = this.clock.after(waitMs, waiter.wake);
      signal.addEventListener('abort', onAbort, { once: true });
      this.#waiters.add(waiter);
      if (signal.aborted) onAbort();
    });
  }

  txn(ops: readonly DriverOp[]): TxnResult {
    const draft: Draft = new Map();
    const index = this.#index + 1n;
    for (const op of ops) {
      const refusal = this.#apply(op, draft, index);
      if (refusal !== undefined) return conflictAt(op, refusal);
    }
    if (draft.size > 0) this.#commit(draft, index);
    const wroteValue = [...draft.values()].some((entry) => entry !== undefined);
    return { outcome: 'committed', index: wroteValue ? index : 0n };
  }

  createSession(client: string, spec: SessionSpec): string {
    const id = this.random.uuid();
    this.#sessions.set(id, { ...spec, client, expiry: this.#armExpiry(id, spec.ttlMs) });
    this.#index += 1n;
    return id;
  }

  renewSession(id: string): boolean {
    const session = this.#sessions.get(id);
    if (session === undefined) return false;
    session.expiry.stop();
    session.expiry = this.#armExpiry(id, session.ttlMs);
    return true;
  }

  /** Frees all that the session holds and keeps it from others for the lock delay. */
  endSession(id: string): void {
    const session = this.#sessions.get(id);
    if (session === undefined) return;
    session.expiry.stop();
    this.#sessions.delete(id);
    const index = this.#index + 1n;
    const draft: Draft = new Map();
    for (const entry of this.#entries.values()) {
      if (entry.session !== id) continue;
      draft.set(entry.key, { key: entry.key, value: entry.value, index });
      if (session.lockDelayMs > 0) this.#lockDelays.set(entry.key, this.clock.nowMs() + session.lockDelayMs);
    }
    this.#commit(draft, index);
  }

  /** A client that is new is a member from now on. */
  meet(client: string): void {
    if (!this.#members.has(client)) this.#members.set(client, true);
  }

  members(): Member[] {
    return [...this.#members].map(([name, alive]) => ({ name, alive }));
  }

  healNode(client: string): void {
    this.#members.set(client, true);
  }

  failNode(client: string): void {
    this.#members.set(client, false);
    for (const [id, session] of [...this.#sessions]) {
      if (session.client === client && session.tieToNodeHealth) this.endSession(id);
    }
  }

  close(): void {
    for (const session of this.#sessions.values()) session.expiry.stop();
  }

  /** The TTL is a lower bound only, as with Consul, which takes up to twice the time. */
  #armExpiry(id: string, ttlMs: number): Timer {
    return this.clock.after(ttlMs * (1 + this.random.next()), () => {
      this.endSession(id);
    });
  }

  /** Carries one step out on the draft; the answer says why it cannot be. */
  #apply(op: DriverOp, draft: Draft, index: bigint): string | undefined {
    const { key } = op;
    const present = draft.has(key) ? draft.get(key) : this.#entries.get(key);
    const presentIndex = present?.index ?? 0n;
    const holder = present?.session;
    const held = holder === undefined ? {} : { session: holder };

    switch (op.op) {
      case 'check':
        return presentIndex === op.index ? undefined : indexMismatch(key, presentIndex, op.index);
      case 'check-session':
        return holder === op.session ? undefined : `${key} is held by session ${holder ?? 'none'}, not ${op.session}`;
      case 'set':
        draft.set(key, { key, value: op.value, index, ...held });
        return undefined;
      case 'cas':
        if (presentIndex !== op.index) return indexMismatch(key, presentIndex, op.index);
        draft.set(key, { key, value: op.value, index, ...held });
        return undefined;
      case 'delete':
        if (present !== undefined) draft.set(key, undefined);
        return undefined;
      case 'delete-cas':
        if (presentIndex !== op.index) return indexMismatch(key, presentIndex, op.index);
        if (present !== undefined) draft.set(key, undefined);
        return undefined;
      case 'lock':
        if (!this.#sessions.has(op.session)) return `session ${op.session} does not exist`;
        if (holder !== undefined && holder !== op.session) return `${key} is already locked`;
        if (this.#isDelayed(key)) return `${key} is kept back by its lock delay`;
        draft.set(key, { key, value: op.value, index, session: op.session });
        return undefined;
      case 'unlock':
        if (present === undefined || holder !== op.session) return `${key} is not held by session ${op.session}`;
        draft.set(key, { key, value: op.value, index });
        return undefined;
    }
  }

  #isDelayed(key: string): boolean {
    const untilMs = this.#lockDelays.get(key);
    if (untilMs === undefined) return false;
    if (this.clock.nowMs() < untilMs) return true;
    this.#lockDelays.delete(key);
    return false;
  }

  #commit(draft: Draft, index: bigint): void {
    this.#index = index;
    for (const [key, entry] of draft) {
      if (entry !== undefined) {
        this.#entries.set(key, entry);
      } else if (this.#entries.delete(key)) {
        this.#deletions.push({ key, index });
      }
    }
    while (this.#deletions.length > MAX_REMEMBERED_DELETIONS) {
      this.#forgottenIndex = this.#deletions.shift()?.index ?? this.#forgottenIndex;
    }
    for (const waiter of [...this.#waiters]) {
      if ([...draft.keys()].some((key) => key.startsWith(waiter.prefix))) waiter.wake();
    }
  }

  #changedSince(prefix: string, afterIndex: bigint): boolean {
    if (afterIndex < this.#forgottenIndex) return true;
    const isNewer = ({ key, index }: { key: string; index: bigint }): boolean =>
      index > afterIndex && key.startsWith(prefix);
    return [...this.#entries.values()].some(isNewer) || this.#deletions.some(isNewer);
  }
}

function indexMismatch(key: string, presentIndex: bigint, index: bigint): string {
  return `${key} has index ${String(presentIndex)}, not ${String(index)}`;
}
