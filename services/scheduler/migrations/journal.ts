// SPDX-License-Identifier: Apache-2.0
import type { Migration} from '@lockstep/sdk/v1';
import { MigrationState, type Vm } from '@lockstep/sdk/v1';
import { LockstepError } from '../../core/errors/catalogue.js';
import { pointAfterState } from '../../core/migration/points.js';
import { isTerminal, mayFollow } from '../../core/migration/transitions.js';
import { migrationCodec, vmCodec, type Stored } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import type { TxnOp } from '../../platform/store/store.js';
import { retryLost } from '../../membership/ledger.js';
import type { Happening } from '../../membership/events.js';
import type { Leading } from '../term.js';
import { happeningOf } from './happenings.js';

/** A migration and its VM as the leader last wrote or read them. */
export interface OpenMigration {
  migration: Stored<Migration>;
  vm: Stored<Vm>;
}

/** Changes of a migration, and of its VM in the same transaction; and what is told of it besides its transitions. */
export interface JournalChange {
  migration?: Partial<Migration>;
  vm?: Partial<Vm>;
  /** What the decision rests on beside the records: it must still hold when the change is written. */
  holds?: readonly TxnOp[];
  events?: readonly Happening[];
}

/**
 * The durable story of every move. A change is one transaction on the migration, and on its VM where that changes too,
 * with the indices both were read at; writers of one migration wait for one another, so a change is made from the
 * newest record.
 */
export class Journal {
  private readonly turns = new Map<string, Promise<unknown>>();

  constructor(private readonly leading: Leading) {}

  read(id: string): OpenMigration {
    const migration = this.leading.migrations.get(id);
    if (migration === undefined) {
      throw new LockstepError('MIGRATION_NOT_FOUND', `there is no migration ${id}`, { migration: id });
    }
    const vm = this.leading.vms.get(migration.record.vmId);
    if (vm === undefined) {
      throw new LockstepError('VM_NOT_FOUND', `there is no VM ${migration.record.vmId}`, { vm: migration.record.vmId });
    }
    return { migration, vm };
  }

  /** Makes a change from the newest records and writes it. Returns what was written. */
  async write(id: string, change: (open: OpenMigration) => JournalChange): Promise<OpenMigration> {
    const attempt = async (): Promise<OpenMigration> => {
      const open = this.read(id);
      const { migration, vm, holds = [], events = [] } = change(open);
      // An end may have been written by a write whose outcome nobody told: it stays as it is (INV-5).
      const { state } = open.migration.record;
      if (isTerminal(state) && (migration?.state ?? state) === state) return open;
      const next = this.next(open.migration.record, migration ?? {});
      const ops: TxnOp[] = [cas(keys.migration(id), migrationCodec.encode(next), open.migration.index)];
      const nextVm: Vm | undefined =
        vm === undefined ? undefined : { ...open.vm.record, ...vm, updateTime: this.leading.env.clock.wallTime() };
      if (nextVm !== undefined) ops.push(cas(keys.vm(nextVm.id), vmCodec.encode(nextVm), open.vm.index));
      const told = happeningOf(open.migration.record, next);
      for (const happening of [...events, ...(told === undefined ? [] : [told])]) ops.push(this.leading.events.step(happening));
      const index = await this.leading.ledger.write([...holds, ...ops]);
      const etag = index.toString();
      const written = { record: { ...next, etag }, index };
      this.leading.migrations.put(id, written);
      if (nextVm === undefined) return { migration: written, vm: open.vm };
      const writtenVm = { record: { ...nextVm, etag }, index };
      this.leading.vms.put(nextVm.id, writtenVm);
      return { migration: written, vm: writtenVm };
    };
    const before = this.leading.migrations.get(id)?.record.state;
    const written = await this.inTurn(id, () => retryLost(this.leading.env, attempt));
    const { state } = written.migration.record;
    const point = state === before ? undefined : pointAfterState(state);
    if (point !== undefined) await this.leading.env.points(point);
    return written;
  }

  private next(before: Migration, change: Partial<Migration>): Migration {
    const after: Migration = { ...before, ...change };
    if (after.state === before.state) return after;
    if (!mayFollow(before.state, after.state)) {
      throw new LockstepError(
        'INTERNAL',
        `migration ${before.id}: ${stateName(after.state)} may not follow ${stateName(before.state)}`,
      );
    }
    return isTerminal(after.state) ? { ...after, waitingReason: '', endTime: this.leading.env.clock.wallTime() } : after;
  }

  /** Runs after all earlier turns of this migration have ended, however they ended. */
  private async inTurn<T>(id: string, work: () => Promise<T>): Promise<T> {
    const before = this.turns.get(id) ?? Promise.resolve();
    const mine = before.then(work, work);
    const settled = mine.then(
      () => undefined,
      () => undefined,
    );
    this.turns.set(id, settled);
    try {
      return await mine;
    } finally {
      if (this.turns.get(id) === settled) this.turns.delete(id);
    }
  }
}

function cas(key: string, value: string, index: bigint): TxnOp {
  return { op: 'cas', key, value, index };
}

export function stateName(state: MigrationState): string {
  return Object.entries(MigrationState).find(([, value]) => value === state)?.[0] ?? String(state);
}
