// SPDX-License-Identifier: Apache-2.0
import type { Lockstep } from '@lockstep/sdk';
import { MigrationState, type Migration } from '@lockstep/sdk/v1';
import { CommandError, ExitCode } from './exit.js';
import { Progress } from './output/progress.js';
import { formatMs } from './output/units.js';
import { migrationState } from './output/views/migration.js';
import type { Terminal } from './terminal.js';

/** Stops a wait early, with what the user is told then. */
type Stop = (why: CommandError) => void;

export interface WaitLimits {
  timeoutMs: number;
  /** What goes on after the command let go, as a clause: "the migration goes on". */
  goesOn: string;
  /** How to come back to it. */
  next: string;
}

/**
 * Waits for something that goes on without us. Ctrl-C and the limit let go of it; so does `stop`. `wait` is given a
 * signal that ends it.
 */
export async function attached<T>(
  terminal: Terminal,
  { timeoutMs, goesOn, next }: WaitLimits,
  wait: (signal: AbortSignal, stop: Stop) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  let stopped: CommandError | undefined;
  const stop: Stop = (why) => {
    stopped ??= why;
    controller.abort(why);
  };
  const forgetInterrupt = terminal.onInterrupt(() => {
    stop(new CommandError(ExitCode.DETACHED, 'DETACHED', `detached; ${goesOn}`, next));
  });
  const timer = setTimeout(() => {
    const message = `still not there after ${formatMs(timeoutMs)}; ${goesOn}`;
    stop(new CommandError(ExitCode.UNAVAILABLE, 'WAIT_TIMEOUT', message, next));
  }, timeoutMs);
  try {
    return await wait(controller.signal, stop);
  } catch (error) {
    // What the wait rejects with once it was stopped says less than why it was.
    throw stopped ?? error;
  } finally {
    clearTimeout(timer);
    forgetInterrupt();
  }
}

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
  let patience: NodeJS.Timeout | undefined;
  const limits = { timeoutMs, goesOn: 'the migration goes on', next: `lockstep migration watch ${id}` };
  try {
    return await attached(terminal, limits, async (signal, stop) => {
      const onUpdate = (migration: Migration): void => {
        progress.show(migration);
        if (migration.state !== MigrationState.UNCERTAIN) {
          clearTimeout(patience);
          patience = undefined;
        } else {
          patience ??= setTimeout(() => {
            stop(uncertain(migration));
          }, uncertainMs);
        }
      };
      return await cluster.waitForMigration(id, { signal, onUpdate });
    });
  } finally {
    clearTimeout(patience);
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
