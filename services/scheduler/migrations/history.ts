// SPDX-License-Identifier: Apache-2.0
import type { Migration } from '@lockstep/sdk/v1';
import { isTerminal } from '../../core/migration/transitions.js';
import { keys } from '../../core/records/keys.js';
import type { History } from '../../membership/history.js';
import type { Leading } from '../term.js';

/** What is kept of migrations that have ended. */
export function migrationHistory({ migrations }: Pick<Leading, 'migrations'>): History<Migration> {
  return {
    kind: 'migrations',
    cache: migrations,
    idOf: ({ id }) => id,
    keyOf: keys.migration,
    endedAt: ({ state, endTime, createTime }) => (isTerminal(state) ? (endTime ?? createTime) : undefined),
    requestIdOf: ({ requestId }) => requestId,
    mostKept: 1_000,
    oldestKeptMs: 30 * 24 * 3_600_000,
  };
}
