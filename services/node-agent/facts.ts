// SPDX-License-Identifier: Apache-2.0
import { SourceFact, TargetFact, type VmFacts, type VmState } from '@lockstep/sdk/v1';
import type { Domain } from '../platform/hypervisor/hypervisor.js';
import type { VmNotes } from './memory-document.js';
import { runsVcpus, stateOf } from './domain-states.js';

/** What is known of this VM's transfer from here. `unknown`: an earlier life of this agent had begun one. */
export type TransferKnowledge =
  | { kind: 'none' }
  | { kind: 'performing' }
  | { kind: 'ended'; told: boolean }
  | { kind: 'failed' }
  | { kind: 'unknown'; jobActive: boolean };

/** Everything that facts are made of. */
export interface FactsInput {
  /** The migration that is asked about; empty: none. */
  migrationId: string;
  placementEpoch: bigint;
  /** `unreachable`: the hypervisor does not answer. */
  domain: Domain | undefined | 'unreachable';
  notes: Readonly<VmNotes>;
  transfer: TransferKnowledge;
  /** The mark `finishing` is set in this boot for the migration that is asked about. */
  finishing: boolean;
  bootId: string;
}

/** What this agent holds of a VM: the facts of the recovery table. Pure. */
export function vmFacts(input: FactsInput): VmFacts {
  const { domain, notes, migrationId } = input;
  const isSource = migrationId !== '' && notes.outgoing?.migrationId === migrationId;
  const isTarget = migrationId !== '' && notes.armed?.migrationId === migrationId;
  const found = domain === 'unreachable' ? undefined : domain;
  return {
    sourceFact: isTarget && !isSource ? SourceFact.UNSPECIFIED : sourceFact(input),
    targetFact: isSource && !isTarget ? TargetFact.UNSPECIFIED : targetFact(input),
    floor: notes.floor,
    placementEpoch: found?.placementEpoch ?? 0n,
    state: reportedState(domain),
    running: found !== undefined && runsVcpus(found.state),
    outgoingMigrationId: notes.outgoing?.migrationId ?? '',
    armedMigrationId: notes.armed !== undefined && !notes.armed.closed ? notes.armed.migrationId : '',
    finishing: input.finishing,
    detail: detailOf(domain),
  };
}

/**
 * Where it cannot be known whether a transfer had ended, the answer is STANDS: its row of the table is safe either
 * way, as the target alone decides there.
 */
export function sourceFact({ domain, transfer }: FactsInput): SourceFact {
  if (domain === 'unreachable') return SourceFact.LVDOWN;
  if (domain === undefined || domain.state.state === 'off') return SourceFact.LOST;
  switch (transfer.kind) {
    case 'performing':
      return SourceFact.TRANSFERRING;
    case 'ended':
      if (runsVcpus(domain.state)) return SourceFact.RUNNING;
      return transfer.told ? SourceFact.STANDS : SourceFact.UNTOLD;
    case 'unknown':
      if (transfer.jobActive) return SourceFact.TRANSFERRING;
      return runsVcpus(domain.state) ? SourceFact.RUNNING : SourceFact.STANDS;
    case 'none':
    case 'failed':
      return standsByMigration(domain) ? SourceFact.STANDS : SourceFact.RUNNING;
  }
}

export function targetFact({ domain, notes, migrationId, finishing, bootId }: FactsInput): TargetFact {
  if (domain === 'unreachable') return TargetFact.UNREACHABLE;
  if (domain !== undefined && domain.state.state !== 'off') {
    // Its memory is at two places, and one of them is gone: it cannot go on, and it has run.
    if (domain.state.state === 'paused' && domain.state.reason === 'post-copy-failed') return TargetFact.MAYBE;
    // A guest that its user had paused arrives paused: it stands by his wish, and Finish was done.
    return isIncoming(domain) ? TargetFact.INCOMING : TargetFact.RUNNING;
  }
  const armed = notes.armed?.migrationId === migrationId ? notes.armed : undefined;
  if (finishing || (armed !== undefined && armed.bootId !== bootId)) return TargetFact.MAYBE;
  // Finish leaves a definition; so a definition with this very placement epoch has run.
  return domain !== undefined && armed !== undefined && domain.placementEpoch === armed.placementEpoch
    ? TargetFact.MAYBE
    : TargetFact.NEVER;
}

/** Paused as libvirt leaves the source at the end of a transfer, and the target before Finish. */
function standsByMigration({ state }: Domain): boolean {
  return state.state === 'paused' && (state.reason === 'migration' || state.reason === 'post-copy-failed');
}

/** A guest being received: built, paused, not finished. */
export function isIncoming({ state }: Domain): boolean {
  return state.state === 'paused' && (state.reason === 'migration' || state.reason === 'starting-up');
}

function reportedState(domain: FactsInput['domain']): VmState {
  return stateOf(domain === 'unreachable' ? undefined : domain, domain === 'unreachable');
}

function detailOf(domain: FactsInput['domain']): string {
  if (domain === 'unreachable') return 'the hypervisor does not answer';
  if (domain === undefined) return 'no domain';
  const { state } = domain;
  return 'reason' in state ? `${state.state} (${state.reason})` : state.state;
}
