// SPDX-License-Identifier: Apache-2.0
import { MigrationState } from '@lockstep/sdk/v1';

type State = Exclude<
  MigrationState,
  typeof MigrationState.UNSPECIFIED | typeof MigrationState.UNRECOGNIZED
>;

const S = MigrationState;

/**
 * From which state of the journal which other may follow. Everything not listed is a mistake of the program and is
 * refused before it is written. `UNCERTAIN` goes back to wherever new facts lead.
 */
export const TRANSITIONS: Readonly<Record<State, readonly State[]>> = {
  [S.PENDING]: [S.PREPARING, S.SHUTTING_DOWN, S.ABORTED],
  [S.PREPARING]: [S.PREPARED, S.ABORTING, S.UNCERTAIN, S.COMMITTING, S.FAILED],
  [S.PREPARED]: [S.TRANSFERRING, S.ABORTING, S.UNCERTAIN, S.COMMITTING, S.FAILED],
  [S.TRANSFERRING]: [S.COMMITTING, S.ABORTING, S.UNCERTAIN, S.FAILED],
  [S.COMMITTING]: [S.SUCCEEDED, S.UNCERTAIN, S.FAILED],
  [S.SHUTTING_DOWN]: [S.STARTING, S.UNCERTAIN, S.FAILED],
  [S.STARTING]: [S.SUCCEEDED, S.UNCERTAIN, S.FAILED],
  [S.ABORTING]: [S.ABORTED, S.SHUTTING_DOWN, S.UNCERTAIN, S.FAILED],
  [S.UNCERTAIN]: [S.TRANSFERRING, S.COMMITTING, S.ABORTING, S.SHUTTING_DOWN, S.STARTING, S.FAILED, S.SUCCEEDED, S.ABORTED],
  [S.SUCCEEDED]: [],
  [S.ABORTED]: [],
  [S.FAILED]: [],
};

function known(state: MigrationState): State {
  if (state === S.UNSPECIFIED || state === S.UNRECOGNIZED) {
    throw new RangeError(`migration state ${String(state)} is none of ours`);
  }
  return state;
}

export function mayFollow(from: MigrationState, to: MigrationState): boolean {
  return TRANSITIONS[known(from)].includes(known(to));
}

/** Ended, for ever (INV-5). */
export function isTerminal(state: MigrationState): boolean {
  return TRANSITIONS[known(state)].length === 0;
}

/** Whether a wish to cancel can still be granted: no order to the target to take over can have been sent. */
export function isCancellable(state: MigrationState): boolean {
  switch (known(state)) {
    case S.PENDING:
    case S.PREPARING:
    case S.PREPARED:
    case S.TRANSFERRING:
    case S.ABORTING:
      return true;
    case S.COMMITTING:
    case S.SHUTTING_DOWN:
    case S.STARTING:
    case S.UNCERTAIN:
    case S.SUCCEEDED:
    case S.ABORTED:
    case S.FAILED:
      return false;
  }
}
