// SPDX-License-Identifier: Apache-2.0
import { SourceFact, TargetFact } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { resolve, type PersonsWord, type Resolution } from './resolve.js';

const S = SourceFact;
const T = TargetFact;
const WORDS: readonly PersonsWord[] = ['source', 'target', 'none'];
const cases = Object.values(S).flatMap((source) =>
  Object.values(T).flatMap((target) => WORDS.map((word) => ({ source, target, word }))),
);

function allowed(wanted: Resolution): typeof cases {
  return cases.filter(({ word, ...facts }) => {
    const answer = resolve({ ...facts, endHeard: false }, word);
    return 'allowed' in answer && answer.allowed === wanted;
  });
}

describe("a person's word", () => {
  it('is answered for every combination of facts', () => {
    for (const { word, ...facts } of cases) {
      const answer = resolve({ ...facts, endHeard: true }, word);
      expect('allowed' in answer || answer.refused.length > 10).toBe(true);
    }
  });

  it('starts anew only where both ends answered or are off, and none of them runs it (INV-1, INV-3)', () => {
    expect(allowed('COLD').length).toBeGreaterThan(0);
    for (const { source, target } of allowed('COLD')) {
      expect([S.RUNNING, S.TRANSFERRING, S.UNREACHABLE, S.LVDOWN] as SourceFact[]).not.toContain(source);
      expect([T.RUNNING, T.UNREACHABLE] as TargetFact[]).not.toContain(target);
    }
  });

  it('never sends a guest back over a target that is silent, or that has run (INV-1, INV-8)', () => {
    for (const { source, target } of allowed('BACK')) {
      expect([T.RUNNING, T.UNREACHABLE] as TargetFact[]).not.toContain(target);
      if (target === T.MAYBE || target === T.OFF) expect([S.RUNNING, S.TRANSFERRING] as SourceFact[]).toContain(source);
    }
  });

  it('never goes forward past a source that may run', () => {
    for (const { source, target } of allowed('FORWARD')) {
      expect([S.RUNNING, S.TRANSFERRING] as SourceFact[]).not.toContain(source);
      if (target === T.UNREACHABLE) expect([S.UNREACHABLE, S.LVDOWN] as SourceFact[]).not.toContain(source);
    }
  });

  it('stops a copy only where two of them run, and never the one that the person named', () => {
    const stops = [...allowed('STOP_SOURCE'), ...allowed('STOP_TARGET')];
    expect(stops).toHaveLength(4);
    for (const { source, target } of stops) {
      expect(target).toBe(T.RUNNING);
      expect([S.RUNNING, S.TRANSFERRING] as SourceFact[]).toContain(source);
    }
    expect(allowed('STOP_SOURCE').every(({ word }) => word === 'target')).toBe(true);
    expect(allowed('STOP_TARGET').every(({ word }) => word === 'source')).toBe(true);
  });
});
