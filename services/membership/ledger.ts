// SPDX-License-Identifier: Apache-2.0
import { check, type Term } from './leadership.js';
import { LockstepError } from '../core/errors/catalogue.js';
import { sleep } from '../platform/clock/clock.js';
import type { Env } from '../platform/env.js';
import type { Entry, TxnOp, TxnResult } from '../platform/store/store.js';
import { storeTrouble } from '../platform/store/trouble.js';

const WRITE_DEADLINE_MS = 5_000;

/** The op that lost a transaction; undefined where the store does not say. */
export class LostTransaction extends LockstepError {
  constructor(readonly failedOp: TxnOp | undefined) {
    super('STORE_CONFLICT', 'the record was changed by somebody else meanwhile');
  }
}

/** The leader's pen: every write is one transaction that checks the leader's session first (INV-4). */
export interface Ledger {
  /** Resolves with the index that the written keys now carry. Fails with LostTransaction, NOT_LEADER, OUTCOME_UNKNOWN. */
  write(ops: readonly TxnOp[]): Promise<bigint>;
}

export function createLedger(env: Env, term: Term): Ledger {
  return {
    async write(ops) {
      if (term.ended.aborted) throw notLeader();
      let result: TxnResult;
      try {
        result = await env.store.txn([check(term), ...ops], { deadlineMs: WRITE_DEADLINE_MS });
      } catch (error) {
        throw storeTrouble(error);
      }
      if (result.outcome === 'committed') return result.index;
      if (result.failedOp?.op === 'check-session') throw notLeader();
      throw new LostTransaction(result.failedOp);
    },
  };
}

/** Reads what no cache holds, verified with a quorum. Fails with STORE_UNAVAILABLE or STORE_DENIED. */
export async function readEntry(env: Env, key: string): Promise<Entry | undefined> {
  try {
    return await env.store.get(key, { consistency: 'consistent' });
  } catch (error) {
    throw storeTrouble(error);
  }
}

/** As `readEntry`, of all keys below a prefix. */
export async function readEntries(env: Env, prefix: string): Promise<Entry[]> {
  try {
    return (await env.store.list(prefix, { consistency: 'consistent' })).entries;
  } catch (error) {
    throw storeTrouble(error);
  }
}

const LOST_TRIES = 5;
const LOST_PAUSE_MS = 20;

/** Decides anew from newer records where a transaction was lost to another writer of this leader; gives up after 5. */
export async function retryLost<T>(env: Env, work: () => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries += 1) {
    try {
      return await work();
    } catch (error) {
      if (!(error instanceof LostTransaction) || tries >= LOST_TRIES) throw error;
      await sleep(env.clock, LOST_PAUSE_MS * tries);
    }
  }
}

function notLeader(): LockstepError {
  return new LockstepError('NOT_LEADER', 'this replica has lost the leadership');
}
