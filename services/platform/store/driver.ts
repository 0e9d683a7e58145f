// SPDX-License-Identifier: Apache-2.0
import type { Consistency, Entry, Listing, Member, TxnOp, TxnResult } from './store.js';

/**
 * The narrow waist between the store's own logic (limits, deadlines, leases, watches: written once) and the place
 * where the data lies: Consul or the embedded server. Faults of tests and simulations are decorators of it.
 */
export interface StoreDriver {
  get(key: string, options: DriverReadOptions): Promise<Entry | undefined>;
  list(prefix: string, options: DriverListOptions): Promise<Listing>;
  txn(ops: readonly DriverOp[], signal: AbortSignal): Promise<TxnResult>;
  /** The new session's id. */
  createSession(spec: SessionSpec, signal: AbortSignal): Promise<string>;
  /** False: the session does not exist any more. */
  renewSession(session: string, signal: AbortSignal): Promise<boolean>;
  /** Frees what the session holds, with its lock delay. A session that is gone already is fine. */
  destroySession(session: string, signal: AbortSignal): Promise<void>;
  /** What the membership of the store's machines says. */
  members(signal: AbortSignal): Promise<Member[]>;
}

export interface DriverReadOptions {
  consistency: Consistency;
  signal: AbortSignal;
}

export interface DriverListOptions extends DriverReadOptions {
  /** Answers only once something under the prefix changed after `afterIndex`, or `waitMs` passed, or earlier. */
  wait?: { afterIndex: bigint; waitMs: number };
}

/** Steps of a transaction that only leases take: becoming and ceasing to be the holder of a key. Both write it. */
export type LockOp =
  | { op: 'lock'; key: string; value: string; session: string }
  | { op: 'unlock'; key: string; value: string; session: string };

export type DriverOp = TxnOp | LockOp;

/** A conflict in the words of the public interface, which knows no lock operations. */
export function conflictAt(op: DriverOp | undefined, detail: string): TxnResult {
  const failedOp = op?.op === 'lock' || op?.op === 'unlock' ? undefined : op;
  return { outcome: 'conflict', failedOp, detail };
}

export interface SessionSpec {
  name: string;
  ttlMs: number;
  lockDelayMs: number;
  tieToNodeHealth: boolean;
}
