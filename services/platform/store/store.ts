// SPDX-License-Identifier: Apache-2.0

/** A value with the index of its last write; the index grows with every write and is what `check` compares. */
export interface Entry {
  key: string;
  value: string;
  /** Index of the last write of this key. 0 stands for "does not exist" wherever an index is checked. */
  index: bigint;
  /** The session that holds the key as a lock, if one does. */
  session?: string;
}

/** Everything under a prefix at one moment, ordered by key. */
export interface Listing {
  entries: Entry[];
  /** The store's index this listing was read at. */
  index: bigint;
}

/**
 * `default`: the leader's answer, possibly of a leader that was just deposed. `consistent`: verified with a quorum;
 * reads that decide about safety use it. `stale`: any server's answer, for displays.
 */
export type Consistency = 'default' | 'consistent' | 'stale';

/** Every call names its limit; the signal ends it earlier. */
export interface CallOptions {
  deadlineMs?: number;
  signal?: AbortSignal | undefined;
}

export interface ReadOptions extends CallOptions {
  consistency?: Consistency;
}

/** A machine as the store's own membership sees it; for Consul, by serf. */
export interface Member {
  name: string;
  /** Whether the others hear it. Lags behind a death by some seconds. */
  alive: boolean;
}

/** One step of a transaction. All steps succeed, or none has any effect. */
export type TxnOp =
  /** The key's last write is still `index` (0: the key does not exist). */
  | { op: 'check'; key: string; index: bigint }
  /** `session` still holds `key` as its lock. */
  | { op: 'check-session'; key: string; session: string }
  | { op: 'set'; key: string; value: string }
  /** Sets only if the last write is still `index` (0: creates, only if absent). */
  | { op: 'cas'; key: string; value: string; index: bigint }
  | { op: 'delete'; key: string }
  /** Deletes only if the last write is still `index` (0: only asserts that the key does not exist). */
  | { op: 'delete-cas'; key: string; index: bigint };

/**
 * `committed`: all steps took effect; `index` is what each key that was set now carries (0 where none was set).
 * `conflict`: none did. Writing a value that is there already is a write like any other.
 */
export type TxnResult =
  | { outcome: 'committed'; index: bigint }
  | { outcome: 'conflict'; failedOp: TxnOp | undefined; detail: string };

/**
 * Why a call to the store failed. `unavailable`: nobody took it, it had no effect. `deadline`: a read's time ran out.
 * `denied`: the token does not allow it. `unknown-outcome`: a write may have happened, or may still happen; read
 * before going on. `invalid`: the request is one that no store takes; it was not sent.
 */
export type StoreErrorKind = 'unavailable' | 'deadline' | 'denied' | 'unknown-outcome' | 'invalid';

/** A call to the store failed. An absent key is never an error, and an error is never an empty value. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
  constructor(
    readonly kind: StoreErrorKind,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** All tries to take a lock were used up; `holder` is what the present holder wrote into it, if it could be read. */
export class LockHeld extends Error {
  override readonly name = 'LockHeld';
  constructor(
    readonly key: string,
    readonly holder: string | undefined,
    readonly tries: number,
  ) {
    super(`${key} is held by ${holder ?? 'somebody unknown'}; gave up after ${String(tries)} tries`);
  }
}

/** Why a lease ended. Only `released` was wanted. */
export type LeaseEnd = 'released' | 'expired' | 'session-gone' | 'taken';

/** The reason of {@link Lease.lost}; the cause, if any, is the last failure to renew. */
export class LeaseLost extends Error {
  override readonly name = 'LeaseLost';
  constructor(
    readonly key: string,
    readonly end: LeaseEnd,
    options?: ErrorOptions,
  ) {
    super(`the lease on ${key} ended: ${LEASE_ENDS[end]}`, options);
  }
}

const LEASE_ENDS: Record<LeaseEnd, string> = {
  released: 'it was released',
  expired: 'it was not renewed in time',
  'session-gone': 'the store had ended its session',
  taken: 'the key is no longer held by its session',
};

/** How a lock is taken and kept. Times in milliseconds of the holder's own monotonic clock. */
export interface LeaseOptions {
  /** The key that becomes the lock. */
  key: string;
  /**
   * Builds the value written with the lock from the value found there before (undefined: none). Both in one
   * transaction, so a counter in it grows with every holder. Called once per try; without side effects.
   */
  value: (previous: string | undefined) => string;
  /** The session's name, for people who look into the store. */
  name: string;
  /** The store may free the lock this long after the last renewal, and not before. */
  ttlMs: number;
  renewEveryMs: number;
  /** The lease counts itself lost this long after the last successful renewal was *sent*; less than `ttlMs`. */
  giveUpAfterMs: number;
  /** How long the store keeps the lock from others after it was lost. */
  lockDelayMs: number;
  /** Tries before {@link LockHeld}; 5 unless told. */
  tries?: number;
  /** Between tries; 1000 unless told. A lock that was just lost is kept back for `lockDelayMs`. */
  retryEveryMs?: number;
  /**
   * Whether a value that is locked is this process's own life before, which is over for certain: its session is ended,
   * and the lock is free once `lockDelayMs` has passed. Nobody's unless told.
   */
  takesOver?: (held: string) => boolean;
  /** Told with every renewal that falls due how much later than planned it is sent. */
  onRenewal?: (latenessMs: number) => void;
  /** Ties the session to the health of this store node (serf), where the store knows nodes. */
  tieToNodeHealth?: boolean;
  /** Ends the taking; once taken, {@link Lease.release} ends the lease. */
  signal?: AbortSignal | undefined;
}

/** A lock that is held and renewed by itself until it is released or lost. */
export interface Lease {
  readonly key: string;
  readonly session: string;
  /** What was written with the lock. */
  readonly value: string;
  /** The lock key's index when it was taken. */
  readonly index: bigint;
  /**
   * Aborts, with a {@link LeaseLost} as reason, at the moment the lease may no longer be relied upon. A process that
   * stood still learns it late: before a deed, compare {@link renewedAtMs} with the clock, and let the transaction
   * check the session.
   */
  readonly lost: AbortSignal;
  /** Milliseconds of this process's clock when the renewal that last succeeded was sent. */
  renewedAtMs(): number;
  /**
   * Gives the lock up, free for others at once, and destroys the session. Repeating it does nothing more. Fails with
   * {@link StoreError} where the store could not be told: then the lock frees itself after its TTL.
   */
  release(): Promise<void>;
}

/**
 * The cluster's small, durable, ordered memory: Consul, or the embedded one with the same semantics. One contract-test
 * suite holds for both. Limits: 64 operations and 360 KiB of values per transaction, 256 printable ASCII characters per
 * key; see limits.ts. A call without a limit of its own has 5 s.
 */
export interface Store {
  /** The entry, or undefined where the key does not exist. Fails with {@link StoreError} or Cancelled. */
  get(key: string, options?: ReadOptions): Promise<Entry | undefined>;
  list(prefix: string, options?: ReadOptions): Promise<Listing>;
  /**
   * Fails with {@link StoreError}; kind `unknown-outcome` where it may have been committed all the same, which a
   * signal that aborts on the way also leads to. Cancelled only where nothing was sent.
   */
  txn(ops: readonly TxnOp[], options?: CallOptions): Promise<TxnResult>;
  /**
   * The listing now, then again whenever it changed, until the signal aborts (then it ends without error). A slow
   * consumer skips states but always gets the newest. Failures are retried inside with a bounded back-off and
   * reported to `onTrouble`; they never show as an empty listing, and an index that goes backwards starts over.
   */
  watch(
    prefix: string,
    options: { signal: AbortSignal; onTrouble?: (error: StoreError) => void },
  ): AsyncIterable<Listing>;
  /** The machines the store's membership knows, ordered by name. Fails with {@link StoreError} or Cancelled. */
  members(options?: CallOptions): Promise<Member[]>;
  /** Takes a lock. Fails with {@link LockHeld}, {@link StoreError} or Cancelled. */
  acquire(options: LeaseOptions): Promise<Lease>;
}
