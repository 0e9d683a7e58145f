// SPDX-License-Identifier: Apache-2.0
import { MigrationState, MigrationStep } from '@lockstep/sdk/v1';

/** What the Scheduler has done when it comes to a point: a state of the journal was written. */
const JOURNAL_POINTS = {
  [MigrationState.PREPARING]: 'scheduler/journal/preparing',
  [MigrationState.PREPARED]: 'scheduler/journal/prepared',
  [MigrationState.TRANSFERRING]: 'scheduler/journal/transferring',
  [MigrationState.COMMITTING]: 'scheduler/journal/committing',
  [MigrationState.SHUTTING_DOWN]: 'scheduler/journal/shutting-down',
  [MigrationState.STARTING]: 'scheduler/journal/starting',
  [MigrationState.ABORTING]: 'scheduler/journal/aborting',
  [MigrationState.UNCERTAIN]: 'scheduler/journal/uncertain',
  [MigrationState.SUCCEEDED]: 'scheduler/journal/succeeded',
  [MigrationState.ABORTED]: 'scheduler/journal/aborted',
  [MigrationState.FAILED]: 'scheduler/journal/failed',
} as const;

/** Or an agent has confirmed a step. PLACE is a write of the journal, and stands for its own point. */
const STEP_POINTS = {
  [MigrationStep.PREPARE_SOURCE]: 'scheduler/step/prepare-source',
  [MigrationStep.PREPARE_TARGET]: 'scheduler/step/prepare-target',
  [MigrationStep.TRANSFER]: 'scheduler/step/transfer',
  [MigrationStep.COMMIT_TARGET]: 'scheduler/step/commit-target',
  [MigrationStep.COMMIT_SOURCE]: 'scheduler/step/commit-source',
  [MigrationStep.ABORT_TARGET]: 'scheduler/step/abort-target',
  [MigrationStep.ABORT_SOURCE]: 'scheduler/step/abort-source',
  [MigrationStep.STOP_SOURCE]: 'scheduler/step/stop-source',
  [MigrationStep.START_TARGET]: 'scheduler/step/start-target',
  [MigrationStep.SEIZE]: 'scheduler/step/seize',
} as const;

const OTHER_SCHEDULER_POINTS = [
  /** A migration is in hand, for the first time (then its record says PENDING) or by a later leader. */
  'scheduler/taken-up',
  /** The source told for the first time how far its transfer is. */
  'scheduler/sending',
  'scheduler/all-gave-up',
  /** Around the transaction that gives a VM of a host that is proven off its next node. */
  'scheduler/recovery/placing',
  'scheduler/recovery/placed',
  /** A node has given up a VM that it could not keep running; nobody has the right to run it yet. */
  'scheduler/relocation/left',
] as const;

/** Before and after each phase of libvirt, and between what an agent writes down and what it does. */
const AGENT_POINTS = [
  'agent/joined',
  'agent/prepare-source/noted',
  'agent/prepare-source/begun',
  'agent/prepare-target/armed',
  'agent/prepare-target/built',
  'agent/transfer/noted',
  /** All memory is sent and the guest stands still; nobody has been told. */
  'agent/transfer/ended',
  'agent/commit-target/finishing',
  'agent/commit-target/finished',
  'agent/commit-source/floored',
  'agent/commit-source/gone',
  'agent/abort-target/floored',
  'agent/abort-target/destroyed',
  'agent/abort-source/cancelled',
  'agent/abort-source/resumed',
  'agent/give-up/floored',
  'agent/give-up/destroyed',
  'agent/apply/noted',
  'agent/reconcile/entitled',
  'agent/reconcile/define',
  'agent/reconcile/stamp',
  'agent/reconcile/start',
  'agent/reconcile/ask-shutdown',
  'agent/reconcile/destroy',
  'agent/reconcile/undefine',
  'agent/reconcile/surrender',
] as const;

/** The Fencer has written or done something of a fence action: at each of them its leader may die. */
const FENCER_POINTS = [
  'fencer/requested',
  'fencer/running',
  'fencer/power-off/noted',
  'fencer/power-off/done',
  'fencer/read-back',
  'fencer/confirmed',
  'fencer/power-on/noted',
] as const;

/** The same of a power cycle that a person asked for: the node must not stay off. */
const DRILL_POINTS = ['drill/begun', 'drill/power-off/noted', 'drill/power-off/done', 'drill/silent', 'drill/power-on/done'] as const;

/**
 * A place in the services where a process can be stopped, killed or looked at exactly: the one list that services,
 * simulation and lab share. Between two of them there is one order, one write or one phase of the hypervisor.
 */
export type Point =
  | (typeof JOURNAL_POINTS)[keyof typeof JOURNAL_POINTS]
  | (typeof STEP_POINTS)[keyof typeof STEP_POINTS]
  | (typeof OTHER_SCHEDULER_POINTS)[number]
  | (typeof FENCER_POINTS)[number]
  | (typeof DRILL_POINTS)[number]
  | (typeof AGENT_POINTS)[number];

export const POINTS: readonly Point[] = [
  ...Object.values(JOURNAL_POINTS),
  ...Object.values(STEP_POINTS),
  ...OTHER_SCHEDULER_POINTS,
  ...FENCER_POINTS,
  ...DRILL_POINTS,
  ...AGENT_POINTS,
];

/** The point right after a state was written; PENDING is written by whoever asks for a move, before it is in hand. */
export function pointAfterState(state: MigrationState): Point | undefined {
  return state in JOURNAL_POINTS ? JOURNAL_POINTS[state as keyof typeof JOURNAL_POINTS] : undefined;
}

/** The point right after a step was done. */
export function pointAfterStep(step: MigrationStep): Point | undefined {
  return step in STEP_POINTS ? STEP_POINTS[step as keyof typeof STEP_POINTS] : undefined;
}
