// SPDX-License-Identifier: Apache-2.0
import { keys } from '../core/records/keys.js';
import type { Stored } from '../core/records/codec.js';
import type { TxnOp } from '../platform/store/store.js';
import type { RecordCache } from '../membership/record-cache.js';
import type { Leading } from './term.js';

/** One kind of record that is kept for a while after it has ended. */
export interface History<T> {
  /** Names the key that says up to where it was pruned. */
  kind: 'migrations' | 'events' | 'drains';
  cache: RecordCache<T>;
  idOf: (record: T) => string;
  keyOf: (id: string) => string;
  /** When it ended, by the wall clock; undefined: it has not, and is kept. */
  endedAt: (record: T) => Date | undefined;
  requestIdOf?: (record: T) => string;
  mostKept: number;
  oldestKeptMs: number;
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
export function keepBounded<T>(leading: Leading, history: History<T>): void {
  const { env, term } = leading;
  const again = (): void => {
    if (term.ended.aborted) return;
    env.clock.after(PRUNE_EVERY_MS, () => {
      prune(leading, history)
        .catch((error: unknown) => {
          env.log.warn(`old ${history.kind} are still kept; tried again in a minute`, { error });
        })
        .finally(again);
    });
  };
  again();
}

async function prune<T>(leading: Leading, history: History<T>): Promise<void> {
  const { cache, idOf, keyOf, kind, requestIdOf } = history;
  for (let round = 0; round < MOST_ROUNDS && !leading.term.ended.aborted; round += 1) {
    const old = toPrune(cache.all(), history, leading.env.clock.wallTime().getTime()).slice(-AT_ONCE);
    const newest = old.reduce((most, { index }) => (index > most ? index : most), leading.prunedUpTo.get(kind) ?? 0n);
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
    const index = await leading.ledger.write([mark, ...ops]);
    leading.prunedUpTo.set(kind, newest);
    for (const { record } of old) cache.remove(idOf(record), index);
  }
}
