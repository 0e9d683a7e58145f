// SPDX-License-Identifier: Apache-2.0
import { SourceFact, TargetFact } from '@lockstep/sdk/v1';

/**
 * What is done about an open, undecided migration, once both agents have acknowledged the leader's epoch and told their
 * facts. Target first, always.
 *
 * - `BACK`: the target gives up durably, is read back, then the source runs on → ABORTED.
 * - `FORWARD`: the placement goes to the target, then the old copy goes → SUCCEEDED.
 * - `FORWARD_SOURCE_LATER`: the same, the old copy goes once its host answers or is off.
 * - `FINISH`: Commit(target) again; it is idempotent.
 * - `COLD`: all give up; the VM starts anew under a fresh placement epoch → FAILED with its reason.
 * - `WATCH`: the transfer goes on; attach to it, or go back where a cancel was asked for.
 * - `WAIT`: a fact is missing that only time or a person brings → UNCERTAIN.
 * - `FENCE`: as WAIT, and a guest stands still or may be lost: the proof that the silent host is off is urgent.
 * - `STOP_UNENTITLED`: two copies run (INV-1 is broken): stop the one the journal does not entitle, and alert.
 * - `ALERT`: facts that cannot be together: touch nothing, tell a person.
 */
export type RecoveryAction =
  | 'BACK'
  | 'FORWARD'
  | 'FORWARD_SOURCE_LATER'
  | 'FINISH'
  | 'COLD'
  | 'WATCH'
  | 'WAIT'
  | 'FENCE'
  | 'STOP_UNENTITLED'
  | 'ALERT';

/** A row of the table: the source's fact, split where it matters whether its word that all memory was sent was heard. */
export type SourceRow =
  | 'RUNNING'
  | 'TRANSFERRING'
  | 'UNTOLD'
  | 'STANDS'
  | 'GONE_HEARD'
  | 'GONE_UNHEARD'
  | 'LVDOWN'
  | 'UNREACHABLE_HEARD'
  | 'UNREACHABLE_UNHEARD';

/** A column: OFF counts as MAYBE, for nothing can be asked there any more. */
export type TargetColumn = 'RUNNING' | 'INCOMING' | 'NEVER' | 'MAYBE' | 'UNREACHABLE';

/** The table of design: total, so every combination of facts has exactly one answer. Code, tests and documents share it. */
export const RECOVERY_TABLE: Readonly<Record<SourceRow, Readonly<Record<TargetColumn, RecoveryAction>>>> = {
  RUNNING: {
    RUNNING: 'STOP_UNENTITLED',
    INCOMING: 'BACK',
    NEVER: 'BACK',
    // The target cannot have run: its memory was never complete.
    MAYBE: 'BACK',
    UNREACHABLE: 'WAIT',
  },
  TRANSFERRING: { RUNNING: 'ALERT', INCOMING: 'WATCH', NEVER: 'BACK', MAYBE: 'BACK', UNREACHABLE: 'WAIT' },
  UNTOLD: { RUNNING: 'ALERT', INCOMING: 'FINISH', NEVER: 'BACK', MAYBE: 'BACK', UNREACHABLE: 'FENCE' },
  STANDS: { RUNNING: 'FORWARD', INCOMING: 'FINISH', NEVER: 'BACK', MAYBE: 'COLD', UNREACHABLE: 'FENCE' },
  GONE_HEARD: { RUNNING: 'FORWARD', INCOMING: 'FINISH', NEVER: 'COLD', MAYBE: 'COLD', UNREACHABLE: 'FENCE' },
  GONE_UNHEARD: { RUNNING: 'FORWARD', INCOMING: 'COLD', NEVER: 'COLD', MAYBE: 'COLD', UNREACHABLE: 'FENCE' },
  // A libvirtd that restarts in mid-Perform may resume the guest by itself: nothing is finished while it is down.
  LVDOWN: {
    RUNNING: 'FORWARD_SOURCE_LATER',
    INCOMING: 'WAIT',
    NEVER: 'WAIT',
    MAYBE: 'WAIT',
    UNREACHABLE: 'WAIT',
  },
  UNREACHABLE_HEARD: {
    RUNNING: 'FORWARD_SOURCE_LATER',
    INCOMING: 'FINISH',
    NEVER: 'FENCE',
    MAYBE: 'FENCE',
    UNREACHABLE: 'FENCE',
  },
  UNREACHABLE_UNHEARD: {
    RUNNING: 'FORWARD_SOURCE_LATER',
    INCOMING: 'WAIT',
    NEVER: 'FENCE',
    MAYBE: 'FENCE',
    UNREACHABLE: 'FENCE',
  },
};

/**
 * Where the switch to post-copy was written down the target may run, and stand still, on memory of which a part is only at
 * the source. What this changes; everything else holds as above.
 */
export const POST_COPY_TABLE: Readonly<Partial<Record<SourceRow, Readonly<Partial<Record<TargetColumn, RecoveryAction>>>>>> = {
  // The rest is on its way, or is not: nothing is torn apart before that is over.
  TRANSFERRING: { RUNNING: 'WAIT', MAYBE: 'COLD' },
  GONE_HEARD: { INCOMING: 'COLD' },
  UNREACHABLE_HEARD: { INCOMING: 'FENCE' },
};

/** Both ends' facts of one open migration, all told under the same leader epoch. */
export interface MigrationFacts {
  source: SourceFact;
  target: TargetFact;
  /** The source's word that the transfer was complete was heard, by any leader that wrote it down or by this one. */
  endHeard: boolean;
  /** The switch to post-copy was written down. */
  postCopy?: boolean;
}

export function sourceRow(source: SourceFact, endHeard: boolean): SourceRow {
  switch (source) {
    case SourceFact.RUNNING:
      return 'RUNNING';
    case SourceFact.TRANSFERRING:
      return 'TRANSFERRING';
    case SourceFact.UNTOLD:
      return 'UNTOLD';
    case SourceFact.STANDS:
      return 'STANDS';
    case SourceFact.LOST:
    case SourceFact.OFF:
      return endHeard ? 'GONE_HEARD' : 'GONE_UNHEARD';
    case SourceFact.LVDOWN:
      return 'LVDOWN';
    case SourceFact.UNREACHABLE:
    case SourceFact.UNSPECIFIED:
    case SourceFact.UNRECOGNIZED:
      return endHeard ? 'UNREACHABLE_HEARD' : 'UNREACHABLE_UNHEARD';
  }
}

export function targetColumn(target: TargetFact): TargetColumn {
  switch (target) {
    case TargetFact.RUNNING:
      return 'RUNNING';
    case TargetFact.INCOMING:
      return 'INCOMING';
    case TargetFact.NEVER:
      return 'NEVER';
    case TargetFact.MAYBE:
    case TargetFact.OFF:
      return 'MAYBE';
    case TargetFact.UNREACHABLE:
    case TargetFact.UNSPECIFIED:
    case TargetFact.UNRECOGNIZED:
      return 'UNREACHABLE';
  }
}

/** The one decision about an undecided migration. A wish to cancel turns FINISH and WATCH into BACK. */
export function decide(facts: MigrationFacts, cancelRequested: boolean): RecoveryAction {
  const row = sourceRow(facts.source, facts.endHeard);
  const column = targetColumn(facts.target);
  const exception = facts.postCopy === true ? POST_COPY_TABLE[row]?.[column] : undefined;
  const action = exception ?? RECOVERY_TABLE[row][column];
  if (!cancelRequested || (action !== 'FINISH' && action !== 'WATCH')) return action;
  // Back needs a source that still has the memory.
  return sourceHoldsMemory(facts.source) ? 'BACK' : action;
}

function sourceHoldsMemory(source: SourceFact): boolean {
  return source === SourceFact.TRANSFERRING || source === SourceFact.UNTOLD || source === SourceFact.STANDS;
}
