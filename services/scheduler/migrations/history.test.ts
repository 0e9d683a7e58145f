// SPDX-License-Identifier: Apache-2.0
import { Migration, MigrationState } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { migrationCodec } from '../../core/records/codec.js';
import { createMemoryLogger } from '../../platform/log/memory.js';
import { toPrune } from '../../membership/history.js';
import { migrationHistory } from './history.js';
import { RecordCache } from '../../membership/record-cache.js';

const NOW = Date.UTC(2030, 0, 1);
const DAY = 24 * 3_600_000;
const history = migrationHistory({ migrations: new RecordCache('test/', migrationCodec, createMemoryLogger()) });

function migration(number: number, state: MigrationState, ageDays = 0) {
  const id = number.toString().padStart(8, '0');
  return { record: Migration.create({ id, state, endTime: new Date(NOW - ageDays * DAY) }), index: 1n };
}

describe('the history of migrations', () => {
  it('keeps the newest thousand that have ended', () => {
    const all = Array.from({ length: 1_005 }, (_, number) => migration(number, MigrationState.SUCCEEDED));
    expect(toPrune(all, history, NOW).map(({ record }) => Number(record.id)).sort((a, b) => a - b)).toEqual([0, 1, 2, 3, 4]);
  });

  it('lets go what is older than a month, and never what is open', () => {
    const old = migration(1, MigrationState.ABORTED, 31);
    const all = [old, migration(2, MigrationState.FAILED, 29), migration(3, MigrationState.UNCERTAIN, 400)];
    expect(toPrune(all, history, NOW)).toEqual([old]);
  });
});
