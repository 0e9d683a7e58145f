// SPDX-License-Identifier: Apache-2.0
import { MigrationState, SourceFact, TargetFact } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import {
  decide,
  POST_COPY_TABLE,
  RECOVERY_TABLE,
  sourceRow,
  targetColumn,
  type MigrationFacts,
  type RecoveryAction,
} from './recovery.js';
import { isTerminal, TRANSITIONS } from './transitions.js';

const S = MigrationState;

/** Every way through the journal that passes no state twice, with each of its beginnings. */
function prefixes(path: readonly MigrationState[] = [S.PENDING]): MigrationState[][] {
  const last = path.at(-1) ?? S.PENDING;
  const followers = last === S.UNSPECIFIED || last === S.UNRECOGNIZED ? [] : TRANSITIONS[last];
  return [[...path], ...followers.filter((next) => !path.includes(next)).flatMap((next) => prefixes([...path, next]))];
}

/** States that leave open where the guest is: what was written down before it does not decide it. */
const UNDECIDED: readonly MigrationState[] = [S.PREPARING, S.PREPARED, S.TRANSFERRING, S.UNCERTAIN];

const sources = Object.values(SourceFact);
const targets = Object.values(TargetFact);
const both = [true, false];

/** What can be known beside the facts, after this much of the journal. */
function knowledge(prefix: readonly MigrationState[]): { endHeard: boolean; postCopy: boolean }[] {
  const sent = prefix.includes(S.TRANSFERRING);
  return both.flatMap((endHeard) => both.map((postCopy) => ({ endHeard, postCopy }))).filter(
    ({ endHeard, postCopy }) => sent || (!endHeard && !postCopy),
  );
}

function cellsFor({ source, target, endHeard, postCopy }: MigrationFacts): RecoveryAction[] {
  const cells: RecoveryAction[] = [];
  for (const [row, columns] of Object.entries(RECOVERY_TABLE)) {
    for (const [column, action] of Object.entries(columns)) {
      if (row !== sourceRow(source, endHeard) || column !== targetColumn(target)) continue;
      const exceptions: Readonly<Record<string, Readonly<Record<string, RecoveryAction>> | undefined>> = POST_COPY_TABLE;
      cells.push((postCopy === true ? exceptions[row]?.[column] : undefined) ?? action);
    }
  }
  return cells;
}

describe("every beginning of a migration's journal, with every combination of both agents' facts", () => {
  const all = prefixes();
  const undecided = all.filter((prefix) => UNDECIDED.includes(prefix.at(-1) ?? S.PENDING));

  it('has exactly one row of the recovery table', () => {
    expect(undecided.length).toBeGreaterThan(4);
    let seen = 0;
    for (const prefix of undecided) {
      for (const known of knowledge(prefix)) {
        for (const source of sources) {
          for (const target of targets) {
            const facts = { source, target, ...known };
            const cells = cellsFor(facts);
            expect(cells).toHaveLength(1);
            expect(decide(facts, false)).toBe(cells[0]);
            seen += 1;
          }
        }
      }
    }
    expect(seen).toBeGreaterThan(1_000);
  });

  it('is either decided by what was written down, or by the table, or has ended, or has not begun', () => {
    const decided: readonly MigrationState[] = [S.COMMITTING, S.ABORTING, S.SHUTTING_DOWN, S.STARTING];
    for (const prefix of all) {
      const last = prefix.at(-1) ?? S.PENDING;
      const kinds = [last === S.PENDING, UNDECIDED.includes(last), decided.includes(last), last !== S.PENDING && isTerminal(last)];
      expect(kinds.filter(Boolean)).toHaveLength(1);
    }
  });

  it('goes back where nothing was sent yet and the guest runs at its source', () => {
    const before = undecided.filter((prefix) => !prefix.includes(S.TRANSFERRING));
    expect(before.length).toBeGreaterThan(0);
    for (const target of [TargetFact.INCOMING, TargetFact.NEVER, TargetFact.MAYBE, TargetFact.OFF]) {
      expect(decide({ source: SourceFact.RUNNING, target, endHeard: false }, false)).toBe('BACK');
    }
  });

  it('never sends a guest back over a target that may run memory of after the switch to post-copy', () => {
    for (const source of sources) {
      for (const target of [TargetFact.RUNNING, TargetFact.MAYBE, TargetFact.OFF]) {
        for (const cancel of both) {
          const action = decide({ source, target, endHeard: true, postCopy: true }, cancel);
          // A source that runs was never switched: the switch stops it.
          const never = source === SourceFact.RUNNING || source === SourceFact.UNTOLD;
          if (!never) expect(action).not.toBe('BACK');
        }
      }
    }
  });
});
