// SPDX-License-Identifier: Apache-2.0
import { keys, nameOf } from '../core/records/keys.js';
import type { Stored } from '../core/records/codec.js';
import type { Env } from '../platform/env.js';
import type { TxnOp } from '../platform/store/store.js';
import { isAborted, pauseUnlessAborted } from './back-off.js';
import type { Ledger } from './ledger.js';
import type { Term } from './leadership.js';
import type { RecordCache } from './record-cache.js';

/** One kind of record that is kept for a while after it has ended. */
export interface History<T> {
  /** Names the key that says up to where it was pruned. */
  kind: 'migrations' | 'events' | 'drains' | 'fence-actions';
  cache: RecordCache<T>;
  idOf: (record: T) => string;
  keyOf: (id: string) => string;
  /** When it ended, by the wall clock; undefined: it has not, or is still needed, and is kept. */
  endedAt: (record: T) => Date | undefined;
  requestIdOf?: (record: T) => string;
  mostKept: number;
  oldestKeptMs: number;
}

/** What a leader of either role prunes with. */
export interface HistoryKeeper {
  env: Pick<Env, 'clock' | 'log'>;
  term: Term;
  ledger: Ledger;
  /** By kind of record: the index up to which its history was pruned. */
  prunedUpTo: Map<string, bigint>;
}

const PRUNE_EVERY_MS = 60_000;
/** Three operations each, as a checked delete counts twice; a transaction holds 64, two are the session's check and the mark. */
const AT_ONCE = 20;
/** Transactions in one go, so that a busy minute does not outgrow the next. */
const MOST_ROUNDS = 25;

/** Which records go: the oldest beyond the number that is kept, and those that are too old. Newest first. */
export function toPrune<T>(
  records: readonly Stored<T>[],
  { idOf, endedAt, mostKept, oldestKeptMs }: Pick<History<T>, 'idOf' | 'endedAt' | 'mostKept' | 'oldestKeptMs'>,
  wallTimeMs: number,
): Stored<T>[] {
  return records
    .filter(({ record }) => endedAt(record) !== undefined)
    .sort((a, b) => (idOf(a.record) < idOf(b.record) ? 1 : -1))
    .filter(({ record }, position) => {
      const endedAtMs = endedAt(record)?.getTime() ?? wallTimeMs;
      return position >= mostKept || wallTimeMs - endedAtMs > oldestKeptMs;
    });
}

/** Keeps a history bounded for as long as this leader leads. */
export function keepBounded<T>(keeper: HistoryKeeper, history: History<T>): void {
  void keepPruning(keeper, history);
}

async function keepPruning<T>(keeper: HistoryKeeper, history: History<T>): Promise<void> {
  const { env, term } = keeper;
  while (!isAborted(term.ended)) {
    await pauseUnlessAborted(env.clock, PRUNE_EVERY_MS, term.ended);
    if (isAborted(term.ended)) return;
    try {
      await prune(keeper, history);
    } catch (error) {
      env.log.warn(`old ${history.kind} are still kept; tried again in a minute`, { error });
    }
  }
}

/** Up to where the history of each kind was pruned by leaders before. */
export async function readPruned({ store }: Pick<Env, 'store'>): Promise<Map<string, bigint>> {
  const { entries } = await store.list(keys.prunedAll, { consistency: 'consistent' });
  return new Map(entries.map(({ key, value }) => [nameOf(key), BigInt(value)]));
}

async function prune<T>(keeper: HistoryKeeper, history: History<T>): Promise<void> {
  const { cache, idOf, keyOf, kind, requestIdOf } = history;
  for (let round = 0; round < MOST_ROUNDS && !keeper.term.ended.aborted; round += 1) {
    const old = toPrune(cache.all(), history, keeper.env.clock.wallTime().getTime()).slice(-AT_ONCE);
    const newest = old.reduce((most, { index }) => (index > most ? index : most), keeper.prunedUpTo.get(kind) ?? 0n);
    if (old.length === 0) return;
    // Written with the deed: a watcher who was away since before that index is told to look anew.
    const mark: TxnOp = { op: 'set', key: keys.pruned(kind), value: newest.toString() };
    const ops = old.flatMap(({ record, index }): TxnOp[] => {
      const requestId = requestIdOf?.(record) ?? '';
      return [
        { op: 'delete-cas', key: keyOf(idOf(record)), index },
        ...(requestId === '' ? [] : [{ op: 'delete', key: keys.request(requestId) } as const]),
      ];
    });
    const index = await keeper.ledger.write([mark, ...ops]);
    keeper.prunedUpTo.set(kind, newest);
    for (const { record } of old) cache.remove(idOf(record), index);
  }
}
