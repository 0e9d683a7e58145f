// SPDX-License-Identifier: Apache-2.0
import type { Migration } from '@lockstep/sdk/v1';
import { isTerminal } from '../../core/migration/transitions.js';
import type { Stored } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import type { TxnOp } from '../../platform/store/store.js';
import type { Leading } from '../term.js';

const PRUNE_EVERY_MS = 60_000;
const MOST_KEPT = 1_000;
const OLDEST_KEPT_MS = 30 * 24 * 3_600_000;
/** Three operations each, as a checked delete counts twice; a transaction holds 64, one is the session's check. */
const AT_ONCE = 20;

/** Which ended migrations go: the oldest beyond the number that is kept, and those that are too old. */
export function toPrune(migrations: readonly Stored<Migration>[], wallTimeMs: number): Stored<Migration>[] {
  const ended = migrations
    .filter(({ record }) => isTerminal(record.state))
    .sort((a, b) => (a.record.id < b.record.id ? 1 : -1));
  return ended.filter(({ record }, position) => {
    const endedAtMs = record.endTime?.getTime() ?? wallTimeMs;
    return position >= MOST_KEPT || wallTimeMs - endedAtMs > OLDEST_KEPT_MS;
  });
}

/** Keeps the history of migrations bounded for as long as this leader leads. */
export function keepHistoryBounded(leading: Leading): void {
  const { env, term } = leading;
  const again = (): void => {
    if (term.ended.aborted) return;
    env.clock.after(PRUNE_EVERY_MS, () => {
      prune(leading)
        .catch((error: unknown) => {
          env.log.warn('old migrations are still kept; tried again in a minute', { error });
        })
        .finally(again);
    });
  };
  again();
}

async function prune(leading: Leading): Promise<void> {
  if (leading.term.ended.aborted) return;
  const old = toPrune(leading.migrations.all(), leading.env.clock.wallTime().getTime()).slice(-AT_ONCE);
  if (old.length === 0) return;
  const ops = old.flatMap(({ record, index }): TxnOp[] => [
    { op: 'delete-cas', key: keys.migration(record.id), index },
    ...(record.requestId === '' ? [] : [{ op: 'delete', key: keys.request(record.requestId) } as const]),
  ]);
  const index = await leading.ledger.write(ops);
  for (const { record } of old) leading.migrations.remove(record.id, index);
}
