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
  /** Deletes only if the last write is still `index`. */
  | { op: 'delete-cas'; key: string; index: bigint };

/** `committed`: all steps took effect; `index` is what each written key now carries. `conflict`: none did. */
export type TxnResult =
  | { outcome: 'committed'; index: bigint }
  | { outcome: 'conflict'; failedOp: TxnOp | undefined; detail: string };

/** Why a call to the store failed. `unknown-outcome`: a write may or may not have happened; read before going on. */
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

/** How a lock is taken and kept. Times in milliseconds of the holder's own monotonic clock. */
export interface LeaseOptions {
  /** The key that becomes the lock. */
  key: string;
  /** Builds the value written with the lock from the value found there before (undefined: none). */
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
  retryEveryMs?: number;
  /** Ties the session to the health of this store node (serf), where the store knows nodes. */
  tieToNodeHealth?: boolean;
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
  /** Aborts, with a reason, at the moment the lease may no longer be relied upon. */
  readonly lost: AbortSignal;
  /** Milliseconds of this process's clock when the renewal that last succeeded was sent. */
  renewedAtMs(): number;
  /** Gives the lock up and destroys the session. Repeating it does nothing. */
  release(): Promise<void>;
}

/**
 * The cluster's small, durable, ordered memory: Consul, or the embedded one with the same semantics. One contract-test
 * suite holds for both. Limits: 512 KiB per value, 64 operations per transaction.
 */
export interface Store {
  /** The entry, or undefined where the key does not exist. Fails with {@link StoreError}. */
  get(key: string, options?: ReadOptions): Promise<Entry | undefined>;
  list(prefix: string, options?: ReadOptions): Promise<Listing>;
  /** Fails with {@link StoreError}; kind `unknown-outcome` where it may have been committed all the same. */
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
  /** Takes a lock. Fails with {@link LockHeld}, {@link StoreError} or Cancelled. */
  acquire(options: LeaseOptions): Promise<Lease>;
}
