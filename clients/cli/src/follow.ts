// SPDX-License-Identifier: Apache-2.0
import type { Lockstep } from '@lockstep/sdk';
import { MigrationState, type Migration } from '@lockstep/sdk/v1';
import { attached, Patience } from './attached.js';
import { CommandError, ExitCode } from './exit.js';
import { Progress } from './output/progress.js';
import { migrationState } from './output/views/migration.js';
import type { Terminal } from './terminal.js';

/** How long a migration may be UNCERTAIN before a person is called. */
const UNCERTAIN_PATIENCE_MS = 60_000;

/** Limits of following one migration. */
export interface FollowLimits {
  timeoutMs: number;
  uncertainMs?: number;
}

/** Follows a migration to its terminal state, with its progress on stderr. */
export async function followMigration(
  cluster: Lockstep,
  terminal: Terminal,
  id: string,
  { timeoutMs, uncertainMs = UNCERTAIN_PATIENCE_MS }: FollowLimits,
): Promise<Migration> {
  const progress = new Progress(terminal);
  const patience = new Patience(uncertainMs);
  const limits = { timeoutMs, goesOn: 'the migration goes on', next: `lockstep migration watch ${id}` };
  try {
    return await attached(terminal, limits, async (signal, stop) => {
      const onUpdate = (migration: Migration): void => {
        progress.show(migration);
        patience.look(migration.state === MigrationState.UNCERTAIN, () => {
          stop(uncertain(migration));
        });
      };
      return await cluster.waitForMigration(id, { signal, onUpdate });
    });
  } finally {
    patience.end();
    progress.end();
  }
}

function uncertain(migration: Migration): CommandError {
  const reason = migration.reason === '' ? 'FACTS_MISSING' : migration.reason;
  const message = `nobody can tell yet where ${migration.vmName} is: ${migration.detail}; the cluster goes on trying`;
  return new CommandError(ExitCode.UNCERTAIN, reason, message, `lockstep migration show ${migration.id}`);
}

/** Throws what a terminal state other than SUCCEEDED means for the caller. */
export function checkSucceeded(migration: Migration): void {
  const { id, vmName, sourceNode, targetNode, reason, detail } = migration;
  const next = `lockstep migration show ${id}`;
  const because = detail === '' ? '' : `: ${detail}`;
  switch (migration.state) {
    case MigrationState.SUCCEEDED:
      return;
    case MigrationState.ABORTED:
      throw new CommandError(
        ExitCode.ROLLED_BACK,
        reason === '' ? 'ABORTED' : reason,
        `${vmName} was not moved to ${targetNode} and runs on at ${sourceNode}${because}`,
        next,
      );
    case MigrationState.FAILED:
      throw new CommandError(
        ExitCode.FAILED,
        reason === '' ? 'FAILED' : reason,
        `the migration of ${vmName} to ${targetNode} failed${because}`,
        next,
      );
    default:
      throw new CommandError(
        ExitCode.UNCERTAIN,
        reason === '' ? 'STATE_UNRECOGNIZED' : reason,
        `the migration of ${vmName} ended as ${migrationState(migration)}${because}`,
        next,
      );
  }
}
