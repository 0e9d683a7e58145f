// SPDX-License-Identifier: Apache-2.0
import { EventSeverity, MigrationState, type Migration } from '@lockstep/sdk/v1';
import { subjects, type Happening } from '../../membership/events.js';

/** What a transition of the journal is worth telling; undefined: nothing. */
export function happeningOf(before: Migration, after: Migration): Happening | undefined {
  if (before.state === after.state) return undefined;
  const { id, vmId, vmName, sourceNode, targetNode, reason, detail } = after;
  const about = { subject: subjects.vm(vmId) };
  const way = `${vmName} from ${sourceNode} to ${targetNode}`;
  switch (after.state) {
    case MigrationState.SUCCEEDED:
      return { ...about, severity: EventSeverity.INFO, reason: 'MIGRATION_SUCCEEDED', message: `migration ${id}: ${detail}` };
    case MigrationState.ABORTED:
      return {
        ...about,
        severity: reason === 'CANCELLED' ? EventSeverity.INFO : EventSeverity.WARNING,
        reason: 'MIGRATION_ABORTED',
        message: `migration ${id} of ${way} was undone (${reason}): ${detail}`,
      };
    case MigrationState.FAILED:
      return {
        ...about,
        severity: EventSeverity.ERROR,
        reason: 'MIGRATION_FAILED',
        message: `migration ${id} of ${way} failed (${reason}): ${detail}`,
      };
    case MigrationState.UNCERTAIN:
      return {
        ...about,
        severity: EventSeverity.ERROR,
        reason: 'MIGRATION_UNCERTAIN',
        message: `migration ${id} of ${way} waits for facts (${reason}): ${detail}`,
      };
    case MigrationState.SHUTTING_DOWN:
      if (before.state !== MigrationState.ABORTING) return undefined;
      return { ...about, severity: EventSeverity.WARNING, reason: 'MIGRATION_FELL_BACK', message: `migration ${id}: ${detail}` };
    default:
      return undefined;
  }
}
