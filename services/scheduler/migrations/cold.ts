// SPDX-License-Identifier: Apache-2.0
import { MigrationRole, MigrationState, SourceFact, TargetFact } from '@lockstep/sdk/v1';
import { LockstepError } from '../../core/errors/catalogue.js';
import type { MigrationFacts } from '../../core/migration/recovery.js';
import type { Attempt } from './attempt.js';

const GIVE_UP_DEADLINE_MS = 60_000;

/**
 * Neither copy may go on: both ends give the VM up for good, and it starts anew under a fresh placement epoch. An end
 * that answers that its vCPUs run stops this (VM_RUNNING), and the facts are asked for again (INV-1, INV-3, INV-8).
 */
export async function restartCold(attempt: Attempt, facts: MigrationFacts): Promise<void> {
  if (facts.target !== TargetFact.OFF) await giveUp(attempt, MigrationRole.TARGET);
  if (facts.source !== SourceFact.OFF) await giveUp(attempt, MigrationRole.SOURCE);
  await attempt.leading.env.points('scheduler/all-gave-up');
  await attempt.journal.write(attempt.id, ({ migration, vm }) => {
    const { placement } = vm.record;
    if (placement === undefined) throw new LockstepError('INTERNAL', `${vm.record.name} has no placement`);
    const epoch = placement.lastEpoch + 1n;
    const { sourceNode, targetNode } = migration.record;
    const node = facts.source === SourceFact.OFF ? targetNode : sourceNode;
    return {
      migration: {
        state: MigrationState.FAILED,
        reason: 'RESTARTED_COLD',
        detail: `${attempt.cause?.detail ?? 'its memory was lost'}; the VM starts anew on ${node}`,
        phases: attempt.phases,
      },
      vm: { placement: { ...placement, node, epoch, lastEpoch: epoch, migrationId: '' } },
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
