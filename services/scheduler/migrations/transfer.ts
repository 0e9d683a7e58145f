// SPDX-License-Identifier: Apache-2.0
import { MigrationRole, MigrationState, MigrationStep, type MigrationProgress } from '@lockstep/sdk/v1';
import { durationOf, milliseconds } from '../../core/duration.js';
import { isReason, LockstepError } from '../../core/errors/catalogue.js';
import { Convergence, figuresOf, type TransferSample } from '../../core/migration/convergence.js';
import type { Attempt } from './attempt.js';
import { convergenceLimits, transferLimits } from './limits.js';

const { SOURCE, TARGET } = MigrationRole;
const TUNE_DEADLINE_MS = 5_000;
/** Where no report comes any more the deadline is kept all the same, a little later. */
const SILENT_GRACE_MS = 5_000;

/** Where the target listens, or only an attachment to a transfer that was begun before. */
export interface TransferInput {
  cookie: Uint8Array;
  migrationUri: string;
  attachOnly: boolean;
}

/** Follows the transfer to the source's word that it stands still and all memory is sent, and helps it to get there. */
export async function transfer(attempt: Attempt, input: TransferInput): Promise<void> {
  const { clock } = attempt.leading.env;
  const shepherd = new Shepherd(attempt);
  const limit = clock.after(convergenceLimits(attempt.open()).deadlineMs + SILENT_GRACE_MS, () => {
    shepherd.giveUp('no report of the transfer came within its deadline');
  });
  const follow = async (): Promise<void> => {
    const { client, header } = attempt.agent(SOURCE);
    const stream = client.transfer(
      {
        header,
        order: attempt.order(SOURCE),
        limits: transferLimits(attempt.open()),
        targetPlacementEpoch: attempt.order(TARGET).placementEpoch,
        ...input,
      },
      { signal: attempt.interrupted.signal },
    );
    for await (const { event } of stream) {
      if (event === undefined) continue;
      switch (event.$case) {
        case 'progress':
          if (attempt.progress === undefined) await attempt.leading.env.points('scheduler/sending');
          attempt.progress = event.value;
          attempt.tell();
          shepherd.see(event.value);
          break;
        case 'ended':
          attempt.endHeardAtMs = clock.nowMs();
          attempt.endHeard = true;
          attempt.endCookie = event.value.cookie;
          return;
        case 'failed':
          throw new LockstepError(
            isReason(event.value.reason) ? event.value.reason : 'TRANSFER_FAILED',
            event.value.detail,
            { migration: attempt.id },
          );
      }
    }
    throw new LockstepError('LOST_CONTACT', 'the stream of the transfer ended without a word', {
      migration: attempt.id,
    });
  };
  try {
    await attempt.step(MigrationStep.TRANSFER, SOURCE, follow, () => told(attempt));
  } finally {
    limit.stop();
  }
}

function told({ progress }: Attempt): string {
  return progress === undefined ? '' : figuresOf(sampleOf(progress));
}

/** Looks at every report and does what the policy says. Nothing here ever waits in the way of the transfer's end. */
class Shepherd {
  #convergence: Convergence;
  #busy = false;

  constructor(private readonly attempt: Attempt) {
    this.#convergence = this.#policy();
  }

  see(progress: MigrationProgress): void {
    if (this.#busy || this.attempt.cancelRequested) return;
    const step = this.#convergence.look(sampleOf(progress));
    switch (step.kind) {
      case 'go-on':
        return;
      case 'allow-downtime':
        void this.#doing(`may stand still for ${String(step.downtimeMs)} ms`, () =>
          tune(this.attempt, { maxDowntime: durationOf(step.downtimeMs) }),
        );
        return;
      case 'post-copy':
        void this.#doing('switches to post-copy', () => switchToPostCopy(this.attempt));
        return;
      case 'give-up':
        this.giveUp(step.detail);
        return;
    }
  }

  giveUp(detail: string): void {
    this.attempt.giveUpLive('NOT_CONVERGED', detail);
  }

  async #doing(what: string, work: () => Promise<void>): Promise<void> {
    this.#busy = true;
    try {
      await work();
      this.attempt.log.info(`does not converge: ${what}`);
    } catch (error) {
      this.attempt.log.warn(`does not converge, and this could not be done: ${what}`, { error });
      // What was not done is due again when the next stall is seen.
      this.#convergence = this.#policy();
    } finally {
      this.#busy = false;
    }
  }

  #policy(): Convergence {
    return new Convergence(convergenceLimits(this.attempt.open()));
  }
}

/**
 * Lets the guest run on at its target while the rest of its memory is fetched. Written down before it is done: from then
 * on neither end alone has all of the memory, and there is no way back (see the recovery table).
 */
export async function switchToPostCopy(attempt: Attempt): Promise<void> {
  const { id } = attempt;
  if (!convergenceLimits(attempt.open()).postCopy) {
    const { vmName } = attempt.open().migration.record;
    throw new LockstepError('POST_COPY_NOT_ALLOWED', `${vmName} does not allow post-copy`, { vm: vmName, migration: id });
  }
  // In the same turn as the look at a cancel, so that only one of them wins.
  if (!attempt.beginPostCopy()) throw notTransferring(id);
  await attempt.journal.write(id, ({ migration: { record } }) => {
    if (record.state !== MigrationState.TRANSFERRING && record.state !== MigrationState.UNCERTAIN) throw notTransferring(id);
    return { migration: { postCopy: true } };
  });
  if (!attempt.endHeard) await tune(attempt, { startPostCopy: true });
}

/** The guest stands still until the rest is sent: a transfer that writes nothing any more ends. */
export async function pauseForTransfer(attempt: Attempt): Promise<void> {
  if (attempt.open().migration.record.state !== MigrationState.TRANSFERRING || attempt.endHeard) {
    throw notTransferring(attempt.id);
  }
  await tune(attempt, { pause: true });
}

async function tune(
  attempt: Attempt,
  levers: { maxDowntime?: ReturnType<typeof durationOf>; startPostCopy?: boolean; pause?: boolean },
): Promise<void> {
  const { client, header } = attempt.agent(SOURCE);
  await client.tuneTransfer(
    { header, order: attempt.order(SOURCE), ...levers },
    { deadlineMs: TUNE_DEADLINE_MS, signal: attempt.interrupted.signal },
  );
}

export function notTransferring(id: string): LockstepError {
  return new LockstepError('NOT_TRANSFERRING', `migration ${id} sends no memory now`, { migration: id });
}

function sampleOf(progress: MigrationProgress): TransferSample {
  return {
    elapsedMs: milliseconds(progress.elapsed, 0),
    iteration: progress.iteration,
    remainingBytes: Number(progress.memoryRemainingBytes),
    dirtyRateBytesPerSecond: Number(progress.dirtyRateBytesPerSecond),
    bandwidthBytesPerSecond: Number(progress.bandwidthBytesPerSecond),
    expectedDowntimeMs: milliseconds(progress.expectedDowntime, 0),
  };
}
