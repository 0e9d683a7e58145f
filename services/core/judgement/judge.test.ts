// SPDX-License-Identifier: Apache-2.0
import { EvidenceSource, NodeJudgement } from '@lockstep/sdk/v1';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { JUDGEMENT_LIMITS, type NodeFacts, type Observation, type Sign } from './facts.js';
import { judge, RULES, type Verdict } from './judge.js';

const { throwMs, throwsTotal } = JUDGEMENT_LIMITS;

const seen = (source: EvidenceSource, sign: Sign): Observation => ({
  source,
  observer: 'f1',
  network: '',
  sign,
  ageMs: 0,
  detail: '',
});
const stream = (sign: Sign) => seen(EvidenceSource.AGENT_STREAM, sign);
const session = (sign: Sign) => seen(EvidenceSource.STORE_SESSION, sign);

function facts(observations: Observation[], more: Partial<NodeFacts> = {}): NodeFacts {
  return {
    incarnation: 1n,
    fencedBy: '',
    observations,
    ownPhase: 'serving',
    steady: true,
    leftInOrder: false,
    powerOff: undefined,
    agreement: undefined,
    observerBlind: undefined,
    ...more,
  };
}

const SILENT = facts([stream('silent'), session('silent')]);
const ALIVE = facts([stream('alive'), session('alive')]);

/** Looks once per throw; each entry is what is seen then. */
function watch(looks: readonly NodeFacts[], everyMs = throwMs): Verdict[] {
  const verdicts: Verdict[] = [];
  for (const [turn, each] of looks.entries()) {
    verdicts.push(judge(verdicts.at(-1)?.track, each, turn * everyMs));
  }
  return verdicts;
}

const times = <T>(count: number, value: T): T[] => Array.from({ length: count }, () => value);
const rulesOf = (verdicts: readonly Verdict[]): string[] => verdicts.map(({ rule }) => rule);

describe('a silent node', () => {
  it('is dead only after six missed throws, which are counted aloud', () => {
    const verdicts = watch([ALIVE, ...times(8, SILENT)]);
    expect(verdicts.map(({ throwsMissed }) => throwsMissed)).toEqual([0, 1, 2, 3, 4, 5, 6, 6, 6]);
    expect(verdicts.map(({ judgement }) => judgement)).toEqual([
      NodeJudgement.ALIVE,
      ...times(5, NodeJudgement.SUSPECT),
      ...times(3, NodeJudgement.DEAD_UNPROVEN),
    ]);
    expect(verdicts[3]?.detail).toBe(
      "3/6 throws missed: no sign of life for 15 s, the last was its agent's stream and its session in the store",
    );
  });

  it.each([
    ['its session in the store', facts([stream('silent'), session('alive')])],
    ["its agent's stream", facts([stream('alive'), session('silent')])],
  ])('is saved at any throw by any sign of life, and the sign is named: %s', (name, sign) => {
    const verdicts = watch([ALIVE, ...times(5, SILENT), sign, ...times(5, SILENT)]);
    expect(verdicts[6]).toMatchObject({ judgement: NodeJudgement.ALIVE, throwsMissed: 0, throwsSaved: 5 });
    expect(verdicts[6]?.detail).toBe(`alive, back after 5 missed throws: ${name}`);
    expect(verdicts.at(-1)).toMatchObject({ judgement: NodeJudgement.SUSPECT, throwsMissed: 5 });
  });

  it('misses no more throws by being looked at more often', () => {
    const verdicts = watch([ALIVE, ...times(29, SILENT)], 1_000);
    expect(verdicts.at(-1)).toMatchObject({ judgement: NodeJudgement.SUSPECT, throwsMissed: 5 });
  });

  it('is not suspect before it missed a throw', () => {
    const verdicts = watch([ALIVE, ...times(5, SILENT)], 1_000);
    expect(rulesOf(verdicts)).toEqual(['signs of life', ...times(4, 'throw not due'), 'throws left']);
    expect(verdicts[4]?.judgement).toBe(NodeJudgement.ALIVE);
    expect(verdicts[5]).toMatchObject({ judgement: NodeJudgement.SUSPECT, throwsMissed: 1 });
  });

  it('is looked at a little late without getting more time for it', () => {
    const looks = Array.from({ length: 31 }, (_, turn) => turn * 1_049);
    let verdict = judge(undefined, ALIVE, 0);
    for (const nowMs of looks) verdict = judge(verdict.track, SILENT, nowMs);
    expect(verdict).toMatchObject({ judgement: NodeJudgement.DEAD_UNPROVEN });
  });

  it('is not dead because the observer slept: that starts its throws anew', () => {
    const before = watch([ALIVE, ...times(5, SILENT)]).at(-1);
    const asleep = judge(before?.track, SILENT, 3_600_000);
    expect(asleep).toMatchObject({ judgement: NodeJudgement.SUSPECT, throwsMissed: 0 });
    expect(asleep.detail).toContain('the observer itself stood still for 3575 s');
    expect(judge(asleep.track, SILENT, 3_605_000)).toMatchObject({ throwsMissed: 1 });
  });

  it('misses no throw while the observer itself sees nothing', () => {
    const blind = { ...SILENT, observerBlind: 'the store does not answer' };
    const verdicts = watch([ALIVE, ...times(3, SILENT), ...times(50, blind), SILENT]);
    expect(verdicts[53]).toMatchObject({ judgement: NodeJudgement.SUSPECT, throwsMissed: 3 });
    expect(verdicts[53]?.detail).toContain('not counting: the store does not answer');
    expect(verdicts[54]).toMatchObject({ throwsMissed: 4 });
  });

  it('has all its throws before a leader that never saw it', () => {
    const verdicts = watch(times(7, facts([stream('silent'), session('silent')], { ownPhase: undefined })));
    expect(rulesOf(verdicts)).toEqual(['not seen yet', ...times(5, 'throws left'), 'all throws missed']);
  });

  it('is not helped by evidence that says nothing', () => {
    const unknown = facts([stream('unknown'), session('unknown')]);
    expect(watch(times(7, unknown)).at(-1)?.judgement).toBe(NodeJudgement.DEAD_UNPROVEN);
  });
});

describe('a node that is starting', () => {
  const starting = facts([stream('alive')], { ownPhase: 'starting' });

  it('never dies while it gives signs of life, however long it takes', () => {
    const verdicts = watch(times(2_000, starting));
    expect(new Set(rulesOf(verdicts))).toEqual(new Set(['starting']));
  });

  it('is not starting any more once it served, though it be less than ready again', () => {
    expect(rulesOf(watch([starting, ALIVE, starting]))).toEqual(['starting', 'signs of life', 'signs of life']);
  });

  it('starts again when it joins again', () => {
    const again = { ...starting, incarnation: 2n };
    expect(rulesOf(watch([ALIVE, ...times(3, SILENT), again])).at(-1)).toBe('starting');
  });
});

describe('a node that said it leaves', () => {
  const leaving = facts([stream('alive')], { ownPhase: 'leaving' });
  const gone = facts([stream('silent'), session('silent')], { ownPhase: 'leaving' });

  it('may be silent for a while without being suspect, but not for ever', () => {
    const verdicts = watch([ALIVE, leaving, ...times(120, gone), ...times(6, gone)]);
    expect(new Set(rulesOf(verdicts.slice(1, 122)))).toEqual(new Set(['said it leaves']));
    expect(verdicts.at(-1)?.judgement).toBe(NodeJudgement.DEAD_UNPROVEN);
    expect(verdicts[2]?.detail).toBe('it said that it is shutting down and is silent for 5 s; from 600 s on its throws count');
  });

  it('is not waited for without end by an observer that came later and never saw it alive', () => {
    const verdicts = watch([...times(121, gone), ...times(6, gone)]);
    expect(new Set(rulesOf(verdicts.slice(0, 121)))).toEqual(new Set(['said it leaves']));
    expect(verdicts.at(-1)?.judgement).toBe(NodeJudgement.DEAD_UNPROVEN);
  });
});

describe('a node that was fenced', () => {
  it('is dead by proof, whatever it says, until it joins again', () => {
    const fenced = { ...ALIVE, fencedBy: '0192-action' };
    const [alive, dead, back] = watch([ALIVE, fenced, { ...ALIVE, incarnation: 2n }]);
    expect(alive?.judgement).toBe(NodeJudgement.ALIVE);
    expect(dead?.judgement).toBe(NodeJudgement.DEAD_PROVEN);
    expect(dead?.detail).toContain('0192-action');
    expect(dead?.detail).toContain('although there are signs of life');
    expect(back?.judgement).toBe(NodeJudgement.ALIVE);
  });
});

/** Mostly silence: otherwise hardly any course lasts until a death. */
const rarely = <T>(value: T, often: T): fc.Arbitrary<T> =>
  fc.oneof({ weight: 1, arbitrary: fc.constant(value) }, { weight: 40, arbitrary: fc.constant(often) });
const anyFacts: fc.Arbitrary<NodeFacts> = fc
  .tuple(rarely<Sign>('alive', 'silent'), rarely<Sign>('alive', 'unknown'))
  .chain(([first, second]) =>
    fc.record({
      incarnation: rarely(2n, 1n),
      fencedBy: fc.constant(''),
      observations: fc.constant([stream(first), session(second)]),
      ownPhase: fc.constantFrom('starting', 'serving', undefined),
      steady: fc.boolean(),
      leftInOrder: fc.constant(false),
      powerOff: fc.constant(undefined),
      agreement: fc.constant(undefined),
      observerBlind: rarely<string | undefined>('blind', undefined),
    }),
  );
const isAlive = ({ observations }: NodeFacts): boolean => observations.some(({ sign }) => sign === 'alive');

describe('every course of evidence', () => {
  it('finds dead without proof only who was silent through six throws, half a minute of an observer that sees', () => {
    let deaths = 0;
    fc.assert(
      fc.property(
        fc.array(fc.tuple(anyFacts, fc.integer({ min: 500, max: 5_200 })), { minLength: 40, maxLength: 80 }),
        (course) => {
          let track: Verdict['track'] | undefined;
          let nowMs = 0;
          let silentMs = 0;
          let incarnation = 0n;
          for (const [each, passedMs] of course) {
            nowMs += passedMs;
            const counts = passedMs <= JUDGEMENT_LIMITS.observerStallMs && each.observerBlind === undefined;
            if (isAlive(each) || each.incarnation !== incarnation) silentMs = 0;
            else if (counts) silentMs += passedMs;
            incarnation = each.incarnation;
            const verdict = judge(track, each, nowMs);
            track = verdict.track;
            if (verdict.judgement === NodeJudgement.DEAD_UNPROVEN) {
              deaths += 1;
              expect(isAlive(each)).toBe(false);
              expect(silentMs).toBeGreaterThanOrEqual(throwsTotal * throwMs);
            }
            expect(verdict.judgement).not.toBe(NodeJudgement.DEAD_PROVEN);
            expect(verdict.throwsMissed).toBeLessThanOrEqual(throwsTotal);
          }
        },
      ),
      { numRuns: 200 },
    );
    expect(deaths).toBeGreaterThan(0);
  });

  it('ends in a rule that has a name of its own', () => {
    expect(new Set(RULES.map(({ name }) => name)).size).toBe(RULES.length);
  });
});
