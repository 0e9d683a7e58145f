// SPDX-License-Identifier: Apache-2.0
import { MigrationState, type Migration } from '@lockstep/sdk/v1';
import { isTerminal } from '../../core/migration/transitions.js';
import { LockstepError } from '../../core/errors/catalogue.js';
import type { Leading } from '../term.js';

const FIRST_PAUSE_MS = 5_000;
const LONGEST_PAUSE_MS = 300_000;
/** What was refused costs nothing to ask again. */
const PAUSE_AFTER_REFUSAL_MS = 2_000;

/** Why a VM could not be moved the last time. */
export interface Hindrance {
  reason: string;
  detail: string;
}

interface Tried {
  migrationId: string | undefined;
  failures: number;
  notBeforeMs: number;
  hindrance: Hindrance | undefined;
}

/** The moves that one purpose has asked for, VM by VM: what became of each, and when the next may be tried. */
export class Tries {
  private readonly tried = new Map<string, Tried>();

  constructor(
    private readonly leading: Leading,
    /** After the first move that failed; doubled with each further one. */
    private readonly firstPauseMs = FIRST_PAUSE_MS,
  ) {}

  /** Why the last move did not work; undefined: it did, or none was tried. */
  hindrance(vmId: string): Hindrance | undefined {
    this.take(vmId);
    return this.tried.get(vmId)?.hindrance;
  }

  mayTry(vmId: string): boolean {
    this.take(vmId);
    return (this.tried.get(vmId)?.notBeforeMs ?? 0) <= this.leading.env.clock.nowMs();
  }

  /** Asks for a move; what refuses it is kept. Yields the migration, or nothing. */
  async ask(vmId: string, create: () => Promise<Migration>): Promise<Migration | undefined> {
    const before = this.tried.get(vmId);
    try {
      const migration = await create();
      this.tried.set(vmId, { ...fresh(), ...before, migrationId: migration.id });
      return migration;
    } catch (error) {
      if (!(error instanceof LockstepError)) throw error;
      const { reason, message: detail } = error;
      const notBeforeMs = this.leading.env.clock.nowMs() + PAUSE_AFTER_REFUSAL_MS;
      this.tried.set(vmId, { ...fresh(), ...before, notBeforeMs, hindrance: { reason, detail } });
      return undefined;
    }
  }

  keepOnly(vmIds: ReadonlySet<string>): void {
    for (const id of [...this.tried.keys()]) if (!vmIds.has(id)) this.tried.delete(id);
  }

  /** Takes in what became of the last move. */
  private take(vmId: string): void {
    const tried = this.tried.get(vmId);
    if (tried?.migrationId === undefined) return;
    const record = this.leading.migrations.get(tried.migrationId)?.record;
    if (record !== undefined && !isTerminal(record.state)) return;
    if (record === undefined || record.state === MigrationState.SUCCEEDED) {
      this.tried.delete(vmId);
      return;
    }
    const failures = tried.failures + 1;
    const pauseMs = Math.min(this.firstPauseMs * 2 ** (failures - 1), LONGEST_PAUSE_MS);
    this.tried.set(vmId, {
      migrationId: undefined,
      failures,
      notBeforeMs: this.leading.env.clock.nowMs() + pauseMs,
      hindrance: { reason: record.reason, detail: record.detail },
    });
  }
}

function fresh(): Tried {
  return { migrationId: undefined, failures: 0, notBeforeMs: 0, hindrance: undefined };
}
