// SPDX-License-Identifier: Apache-2.0
import { FenceActionState } from '@lockstep/sdk/v1';

type State = Exclude<FenceActionState, typeof FenceActionState.UNSPECIFIED | typeof FenceActionState.UNRECOGNIZED>;

const S = FenceActionState;

/**
 * From which state of a fence action which other may follow. Everything not listed is a mistake of the program and is
 * refused before it is written. A person's word confirms an action in any state that is not terminal.
 */
export const FENCE_TRANSITIONS: Readonly<Record<State, readonly State[]>> = {
  [S.REQUESTED]: [S.HELD, S.RUNNING, S.CONFIRMED, S.CANCELLED],
  [S.HELD]: [S.REQUESTED, S.CONFIRMED, S.CANCELLED],
  [S.RUNNING]: [S.UNCERTAIN, S.CONFIRMED, S.CANCELLED, S.FAILED],
  [S.UNCERTAIN]: [S.RUNNING, S.CONFIRMED, S.CANCELLED, S.FAILED],
  [S.CONFIRMED]: [],
  [S.CANCELLED]: [],
  [S.FAILED]: [],
};

function known(state: FenceActionState): State {
  if (state === S.UNSPECIFIED || state === S.UNRECOGNIZED) {
    throw new RangeError(`fence action state ${String(state)} is none of ours`);
  }
  return state;
}

/** Whether `to` may be written over `from`; staying is always allowed where something is left to come. */
export function fenceMayFollow(from: FenceActionState, to: FenceActionState): boolean {
  const next = FENCE_TRANSITIONS[known(from)];
  return next.includes(known(to)) || (from === to && next.length > 0);
}

/** Ended, for ever (INV-5). */
export function isFenceEnded(state: FenceActionState): boolean {
  return FENCE_TRANSITIONS[known(state)].length === 0;
}
