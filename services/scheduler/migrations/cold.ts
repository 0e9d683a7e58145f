// SPDX-License-Identifier: Apache-2.0
import { MigrationRole, MigrationState } from '@lockstep/sdk/v1';
import { LockstepError } from '../../core/errors/catalogue.js';
import type { Proof } from '../recovery/proof.js';
import type { Attempt } from './attempt.js';

const GIVE_UP_DEADLINE_MS = 60_000;

/** Why each end cannot run the VM any more, without being asked; an end that is not named gives it up when told. */
export interface Gone {
  source?: Proof | undefined;
  /** `gave-up`: it did so durably, earlier. */
  target?: Proof | 'gave-up' | undefined;
}

/**
 * Neither copy may go on: both ends give the VM up for good, or are proven off, and it starts anew under a fresh
 * placement epoch: at its source, and where that is off, wherever the recovery of that host finds room. An end that
 * answers that its vCPUs run stops this (VM_RUNNING), and the facts are asked for again (INV-1, INV-3, INV-8).
 */
export async function restartCold(attempt: Attempt, { source, target }: Gone): Promise<void> {
  if (target === undefined) await giveUp(attempt, MigrationRole.TARGET);
  if (source === undefined) await giveUp(attempt, MigrationRole.SOURCE);
  await attempt.leading.env.points('scheduler/all-gave-up');
  await attempt.journal.write(attempt.id, ({ migration, vm }) => {
    const { placement } = vm.record;
    if (placement === undefined) throw new LockstepError('INTERNAL', `${vm.record.name} has no placement`);
    const epoch = placement.lastEpoch + 1n;
    const { sourceNode: node } = migration.record;
    const anew = source === undefined ? `starts anew on ${node}` : `starts anew elsewhere, as ${node} is proven off`;
    return {
      migration: {
        state: MigrationState.FAILED,
        reason: 'RESTARTED_COLD',
        detail: `${attempt.cause?.detail ?? 'its memory was lost'}; the VM ${anew}`,
        phases: attempt.phases,
      },
      vm: { placement: { ...placement, node, epoch, lastEpoch: epoch, migrationId: '' } },
      holds: [source, target].flatMap((end) => (end === undefined || end === 'gave-up' ? [] : [end.holds])),
    };
  });
  attempt.log.error(`memory was lost: ${attempt.open().migration.record.detail}`);
}

/** Every copy up to the migration's own epoch: the one that moved and the one that was built. */
async function giveUp(attempt: Attempt, role: MigrationRole): Promise<void> {
  const { client, header } = attempt.agent(role);
  const { placementEpoch } = attempt.open().migration.record;
  await client.giveUp(
    { header, order: { ...attempt.order(role), placementEpoch } },
    { deadlineMs: GIVE_UP_DEADLINE_MS, signal: attempt.leading.term.ended },
  );
}
