// SPDX-License-Identifier: Apache-2.0
import { MigrationState } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { isCancellable, isTerminal, mayFollow, TRANSITIONS } from './transitions.js';

const states = Object.values(MigrationState).filter(
  (state) => state !== MigrationState.UNSPECIFIED && state !== MigrationState.UNRECOGNIZED,
);

describe('the journal of a migration', () => {
  it('knows every state of the API', () => {
    expect(Object.keys(TRANSITIONS).map(Number).sort()).toEqual([...states].sort());
  });

  it('ends in three states for ever (INV-5)', () => {
    const ends = states.filter(isTerminal);
    expect(ends).toEqual([MigrationState.SUCCEEDED, MigrationState.ABORTED, MigrationState.FAILED]);
    for (const end of ends) for (const next of states) expect(mayFollow(end, next)).toBe(false);
  });

  it('can reach an end from every state', () => {
    const reaches = (from: MigrationState, seen = new Set<MigrationState>()): boolean => {
      if (isTerminal(from)) return true;
      if (seen.has(from)) return false;
      seen.add(from);
      return states.some((next) => mayFollow(from, next) && reaches(next, seen));
    };
    for (const state of states) expect(reaches(state), String(state)).toBe(true);
  });

  it('goes back only from where the target cannot have taken over by the journal', () => {
    expect(mayFollow(MigrationState.COMMITTING, MigrationState.ABORTING)).toBe(false);
    expect(mayFollow(MigrationState.COMMITTING, MigrationState.ABORTED)).toBe(false);
    expect(mayFollow(MigrationState.TRANSFERRING, MigrationState.ABORTING)).toBe(true);
  });

  it('grants no cancel once the placement is written or the record is closed', () => {
    for (const state of [MigrationState.COMMITTING, MigrationState.SUCCEEDED, MigrationState.ABORTED, MigrationState.FAILED]) {
      expect(isCancellable(state)).toBe(false);
    }
    expect(isCancellable(MigrationState.PENDING)).toBe(true);
    expect(isCancellable(MigrationState.TRANSFERRING)).toBe(true);
  });

  it('refuses a state that is none', () => {
    expect(() => isTerminal(MigrationState.UNSPECIFIED)).toThrow(RangeError);
  });
});
