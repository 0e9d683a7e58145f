// SPDX-License-Identifier: Apache-2.0
import { Cancelled, DeadlineExceeded, withDeadline, type Clock } from '../clock/clock.js';
import type { DriverListOptions, DriverOp, SessionSpec, StoreDriver } from './driver.js';
import { checkKey, checkPrefix, checkTxn } from './limits.js';
import {
  StoreError,
  type CallOptions,
  type Entry,
  type Listing,
  type Member,
  type ReadOptions,
  type TxnResult,
} from './store.js';

/** Limit of a call that names none. */
export const DEFAULT_CALL_LIMIT_MS = 5_000;

export interface ListCallOptions extends ReadOptions {
  wait?: NonNullable<DriverListOptions['wait']>;
}

/** A driver's calls with checked arguments, a deadline each, and no error but StoreError and Cancelled. */
export class StoreCalls {
  constructor(
    private readonly driver: StoreDriver,
    private readonly clock: Clock,
  ) {}

  get(key: string, options: ReadOptions = {}): Promise<Entry | undefined> {
    const consistency = options.consistency ?? 'default';
    return this.read(`read of ${key}`, options, (signal) => {
      checkKey(key);
      return this.driver.get(key, { consistency, signal });
    });
  }

  list(prefix: string, options: ListCallOptions = {}): Promise<Listing> {
    const { consistency = 'default', wait } = options;
    return this.read(`listing of ${prefix}`, options, (signal) => {
      checkPrefix(prefix);
      return this.driver.list(prefix, { consistency, signal, ...(wait === undefined ? {} : { wait }) });
    });
  }

  txn(ops: readonly DriverOp[], options: CallOptions = {}): Promise<TxnResult> {
    return this.write('transaction', options, (signal) => {
      checkTxn(ops);
      return this.driver.txn(ops, signal);
    });
  }

  createSession(spec: SessionSpec, options: CallOptions): Promise<string> {
    return this.write('creation of a session', options, (signal) => this.driver.createSession(spec, signal));
  }

  renewSession(session: string, options: CallOptions): Promise<boolean> {
    return this.write('renewal of a session', options, (signal) => this.driver.renewSession(session, signal));
  }

  destroySession(session: string, options: CallOptions): Promise<void> {
    return this.write('end of a session', options, (signal) => this.driver.destroySession(session, signal));
  }

  async members(options: CallOptions = {}): Promise<Member[]> {
    const members = await this.read('listing of the members', options, (signal) => this.driver.members(signal));
    return members.sort((left, right) => (left.name < right.name ? -1 : 1));
  }

  private async read<T>(what: string, options: CallOptions, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    try {
      return await this.limited(what, options, work);
    } catch (error) {
      if (error instanceof DeadlineExceeded) throw new StoreError('deadline', error.message, { cause: error });
      throw error;
    }
  }

  private async write<T>(what: string, options: CallOptions, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const neverBegun = options.signal?.aborted === true;
    try {
      return await this.limited(what, options, work);
    } catch (error) {
      const cutShort = error instanceof DeadlineExceeded || error instanceof Cancelled;
      if (neverBegun || !cutShort) throw error;
      throw new StoreError('unknown-outcome', `${error.message}; it may have happened all the same`, { cause: error });
    }
  }

  private limited<T>(what: string, options: CallOptions, work: (signal: AbortSignal) => Promise<T>): Promise<T> {
    const { deadlineMs = DEFAULT_CALL_LIMIT_MS, signal } = options;
    return withDeadline(this.clock, { what, limitMs: deadlineMs, signal }, async (inner) => work(inner));
  }
}
