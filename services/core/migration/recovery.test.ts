// SPDX-License-Identifier: Apache-2.0
import { SourceFact, TargetFact } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { decide, RECOVERY_TABLE, type RecoveryAction } from './recovery.js';

const S = SourceFact;
const T = TargetFact;
const sources = Object.values(S);
const targets = Object.values(T);

/** Every combination of facts, with and without a wish to cancel. */
const cases = sources.flatMap((source) =>
  targets.flatMap((target) =>
    [true, false].flatMap((endHeard) => [true, false].map((cancel) => ({ source, target, endHeard, cancel }))),
  ),
);

function casesOf(wanted: RecoveryAction): typeof cases {
  return cases.filter(({ cancel, ...facts }) => decide(facts, cancel) === wanted);
}

describe('the recovery table', () => {
  it('answers every combination of facts', () => {
    const known = new Set<string>(Object.values(RECOVERY_TABLE).flatMap((row) => Object.values(row)));
    for (const { cancel, ...facts } of cases) expect(known).toContain(decide(facts, cancel));
  });

  it('lets the source go on only where the target stands still or is not there (INV-1)', () => {
    for (const { target } of casesOf('BACK')) expect(target).not.toBe(T.RUNNING);
  });

  it('never goes back once the end was told and the target may have run (INV-8)', () => {
    for (const { source, target } of casesOf('BACK')) {
      const mayHaveRun = target === T.MAYBE || target === T.OFF;
      expect(source === S.STANDS && mayHaveRun).toBe(false);
    }
  });

  it('finishes only a target that waits, and never while a libvirtd is down at the source', () => {
    for (const { source, target } of casesOf('FINISH')) {
      expect(target).toBe(T.INCOMING);
      expect(source).not.toBe(S.LVDOWN);
      expect(source).not.toBe(S.RUNNING);
      expect(source).not.toBe(S.TRANSFERRING);
    }
  });

  it('finishes without the source only where its word was heard', () => {
    const alone = casesOf('FINISH').filter(({ source }) =>
      ([S.LOST, S.OFF, S.UNREACHABLE] as SourceFact[]).includes(source),
    );
    expect(alone.length).toBeGreaterThan(0);
    for (const { endHeard } of alone) expect(endHeard).toBe(true);
  });

  it('starts anew only where no copy runs and both ends answered or are off (INV-3)', () => {
    for (const { source, target } of casesOf('COLD')) {
      expect([S.RUNNING, S.TRANSFERRING, S.UNREACHABLE, S.LVDOWN] as SourceFact[]).not.toContain(source);
      expect([T.RUNNING, T.UNREACHABLE] as TargetFact[]).not.toContain(target);
    }
  });

  it('touches nothing where an end does not answer and nothing proves it off', () => {
    const silent = cases.filter(({ target }) => target === T.UNREACHABLE);
    for (const { cancel, ...facts } of silent) expect(['WAIT', 'FENCE']).toContain(decide(facts, cancel));
  });

  it('takes a wish to cancel into account where the source holds the memory, and nowhere else', () => {
    const standing = { source: S.STANDS, target: T.INCOMING, endHeard: true };
    expect(decide(standing, false)).toBe('FINISH');
    expect(decide(standing, true)).toBe('BACK');
    const gone = { source: S.LOST, target: T.INCOMING, endHeard: true };
    expect(decide(gone, true)).toBe('FINISH');
  });
});
