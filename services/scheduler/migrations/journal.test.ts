// SPDX-License-Identifier: Apache-2.0
import { Migration, Vm, type MigrationState } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { pointAfterState } from '../../core/migration/points.js';
import { TRANSITIONS } from '../../core/migration/transitions.js';
import { migrationCodec, vmCodec } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { createVirtualClock } from '../../platform/clock/virtual.js';
import { createMemoryLogger } from '../../platform/log/memory.js';
import { RecordCache } from '../../membership/record-cache.js';
import type { Leading } from '../term.js';
import { Journal } from './journal.js';

const ID = 'migration-1';

/** A journal with one migration in this state, whose writes all succeed, and the points that it comes to. */
function journalAt(state: MigrationState): { journal: Journal; reached: string[] } {
  const log = createMemoryLogger();
  const migrations = new RecordCache(keys.migrations, migrationCodec, log);
  const vms = new RecordCache(keys.vms, vmCodec, log);
  migrations.put(ID, { record: Migration.create({ id: ID, vmId: 'vm-1', state }), index: 1n });
  vms.put('vm-1', { record: Vm.create({ id: 'vm-1' }), index: 1n });
  const reached: string[] = [];
  let index = 1n;
  const leading = {
    env: {
      clock: createVirtualClock(),
      points: (point: string) => {
        reached.push(point);
        return Promise.resolve();
      },
    },
    ledger: { write: () => Promise.resolve(++index) },
    events: { step: () => ({ op: 'set', key: 'events/e', value: '' }) },
    migrations,
    vms,
  };
  return { journal: new Journal(leading as unknown as Leading), reached };
}

const transitions = Object.entries(TRANSITIONS).flatMap(([from, followers]) =>
  followers.map((to) => [Number(from) as MigrationState, to] as const),
);

describe('the named points of the journal', () => {
  it.each(transitions)('the transition from %i to %i has its point', async (from, to) => {
    const { journal, reached } = journalAt(from);
    await journal.write(ID, () => ({ migration: { state: to } }));
    expect(reached).toEqual([pointAfterState(to)]);
    expect(reached).not.toContain(undefined);
  });

  it('a write that changes no state comes to none', async () => {
    const { journal, reached } = journalAt(2);
    await journal.write(ID, () => ({ migration: { waitingReason: 'a reason' } }));
    expect(reached).toEqual([]);
  });
});
