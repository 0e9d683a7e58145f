// SPDX-License-Identifier: Apache-2.0
import { EvidenceSource, NodeJudgement } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { agreementOf, type ProbeTally } from './agreement.js';
import type { NodeFacts, Observation, Sign } from './facts.js';
import { judge } from './judge.js';

const by = (observer: string, network: string, misses = 5, networkWorks = true): ProbeTally => ({
  observer,
  network,
  misses,
  networkWorks,
});
const BOTH = [by('h2', 'a'), by('h2', 'b'), by('h3', 'a'), by('h3', 'b')];

describe('peers agree that a node is gone', () => {
  it.each<[string, ProbeTally[], boolean]>([
    ['when two missed it over two networks, five times each', BOTH, true],
    ['not when one network is all there is', [by('h2', 'a'), by('h3', 'a')], false],
    ['not when only one peer looked', [by('h2', 'a'), by('h2', 'b')], false],
    ['not when each saw another network', [by('h2', 'a'), by('h3', 'b')], false],
    ['not after four probes', [...BOTH.slice(0, 3), by('h3', 'b', 4)], false],
    ["not when a peer's own link may be the one that is cut", [...BOTH.slice(0, 3), by('h3', 'b', 9, false)], false],
  ])('%s', (_, tallies, agrees) => {
    expect(agreementOf(tallies) !== undefined).toBe(agrees);
  });

  it('in words', () => {
    expect(agreementOf(BOTH)).toBe('h2 and h3 over a and b, 5 probes in a row each');
  });
});

const seen = (source: EvidenceSource, sign: Sign): Observation => ({
  ...{ source, observer: 'f1', network: '', sign, ageMs: 0, detail: '' },
});
const silent = (session: Sign = 'silent', serf: Sign = 'silent', stream: Sign = 'silent'): Observation[] => [
  seen(EvidenceSource.STORE_SESSION, session),
  seen(EvidenceSource.SERF, serf),
  seen(EvidenceSource.AGENT_STREAM, stream),
];
const facts = (more: Partial<NodeFacts>): NodeFacts => ({
  ...{ incarnation: 1n, fencedBy: '', observations: silent(), ownPhase: 'serving', steady: true },
  ...{ leftInOrder: false, powerOff: undefined, agreement: 'h2 and h3', observerBlind: undefined },
  ...more,
});

describe('the throws are shortened', () => {
  const { ALIVE, DEAD_UNPROVEN, LEAVING, SUSPECT } = NodeJudgement;
  const alive = facts({ observations: silent('alive', 'alive', 'alive'), agreement: undefined });

  it.each<[string, Partial<NodeFacts>, NodeJudgement]>([
    ['by peers that agree, where session and membership are gone too', {}, DEAD_UNPROVEN],
    ['not while the session is there', { observations: silent('alive') }, ALIVE],
    ['not while the membership hears the host', { observations: silent('silent', 'alive') }, SUSPECT],
    ['not where the membership could not be asked', { observations: silent('silent', 'unknown') }, ALIVE],
    ['not for a node that was ready for less than a minute', { steady: false }, ALIVE],
    ['not for a node that said it leaves', { ownPhase: 'leaving' }, LEAVING],
    ['not for a node that left in order, while its power is not known', { ownPhase: 'leaving', leftInOrder: true }, LEAVING],
    ['by power that reads off after it left in order', { ownPhase: 'leaving', leftInOrder: true, powerOff: 'its BMC' }, DEAD_UNPROVEN],
    ['not by power that reads off while it still leaves', { ownPhase: 'leaving', powerOff: 'its BMC' }, LEAVING],
    ['not for a node that is starting', { ownPhase: 'starting' }, ALIVE],
    ['not by an observer that sees nothing itself', { observerBlind: 'cut off' }, ALIVE],
    ['by power that reads off, at once', { agreement: undefined, powerOff: 'its BMC' }, DEAD_UNPROVEN],
    ['by power that reads off although others still believe in it', { powerOff: 'x', observations: silent('alive', 'alive') }, DEAD_UNPROVEN],
    ['not by power that a blind observer read', { agreement: undefined, powerOff: 'x', observerBlind: 'cut off' }, ALIVE],
  ])('%s', (_, more, judgement) => {
    const before = judge(undefined, alive, 0);
    expect(judge(before.track, facts(more), 1_000).judgement).toBe(judgement);
  });
});
