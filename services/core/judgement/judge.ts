// SPDX-License-Identifier: Apache-2.0
import { EvidenceSource, NodeJudgement } from '@lockstep/sdk/v1';
import { isOfAgent, JUDGEMENT_LIMITS, type JudgementLimits, type NodeFacts, type Observation } from './facts.js';
import { isLeaving, look, seconds, silentMs, type Look, type Track } from './throws.js';

/** All that a rule reads. */
export interface RuleInput {
  facts: NodeFacts;
  looked: Look;
  nowMs: number;
  limits: JudgementLimits;
}

/** One way from evidence to a judgement. */
export interface Rule {
  name: string;
  judgement: NodeJudgement;
  applies: (input: RuleInput) => boolean;
  /** What is said about it, one sentence without a full stop. */
  says: (input: RuleInput) => string;
}

const ALL_THROWS_MISSED = {
  name: 'all throws missed',
  judgement: NodeJudgement.DEAD_UNPROVEN,
  applies: () => true,
  says: (input) => `${missed(input)} throws missed: ${silence(input)}; nothing proves yet that it is off`,
} as const satisfies Rule;

/** The first rule that applies judges. The last one always does. */
export const RULES = [
  {
    name: 'fenced',
    judgement: NodeJudgement.DEAD_PROVEN,
    applies: ({ facts }) => facts.fencedBy !== '',
    says: ({ facts, looked: { signs } }) => {
      const proof = `proven off by fence action ${facts.fencedBy} until it joins again`;
      return signs.length === 0 ? proof : `${proof}, although there are signs of life: ${signs.join(' and ')}`;
    },
  },
  {
    name: 'left in order',
    judgement: NodeJudgement.DEAD_UNPROVEN,
    applies: ({ facts }) => facts.leftInOrder && facts.powerOff !== undefined && facts.observerBlind === undefined,
    says: ({ facts }) => `it went down in order, and its power is off: ${facts.powerOff ?? ''}`,
  },
  {
    name: 'said it leaves',
    judgement: NodeJudgement.LEAVING,
    applies: ({ facts, looked, nowMs, limits }) => isLeaving(looked.track, facts, nowMs, limits),
    says: ({ looked: { signs, track }, nowMs, limits }) => {
      const silent = ` and is silent for ${seconds(silentMs(track, nowMs))}; from ${seconds(limits.leavingLimitMs)} on its throws count`;
      return `it said that it is shutting down${signs.length === 0 ? silent : ''}`;
    },
  },
  {
    name: 'power is off',
    judgement: NodeJudgement.DEAD_UNPROVEN,
    applies: ({ facts }) => facts.powerOff !== undefined && facts.observerBlind === undefined,
    says: ({ facts }) => `its power is off: ${facts.powerOff ?? ''}; no throws are waited for`,
  },
  {
    name: 'starting',
    judgement: NodeJudgement.STARTING,
    applies: ({ facts, looked }) => looked.signs.length > 0 && facts.ownPhase === 'starting' && !looked.track.hasServed,
    says: ({ looked }) => `it has joined and is not ready yet${seenBy(looked)}`,
  },
  {
    name: 'agent silent',
    judgement: NodeJudgement.SUSPECT,
    applies: ({ facts, looked }) => looked.signs.length > 0 && !facts.observations.some(isAgentAlive),
    says: ({ looked }) => `its agent is silent, and its host lives: ${looked.signs.join(' and ')}; that alone fences nobody`,
  },
  {
    name: 'signs of life',
    judgement: NodeJudgement.ALIVE,
    applies: ({ looked }) => looked.signs.length > 0,
    says: ({ looked }) => `alive${seenBy(looked)}`,
  },
  {
    name: 'peers agree',
    judgement: NodeJudgement.DEAD_UNPROVEN,
    applies: ({ facts, looked }) =>
      facts.agreement !== undefined &&
      facts.steady &&
      facts.ownPhase !== 'starting' &&
      facts.ownPhase !== 'leaving' &&
      [EvidenceSource.STORE_SESSION, EvidenceSource.SERF].every((source) => isGone(facts, source)) &&
      looked.notCounted === undefined,
    says: (input) => `independent peers agree: ${input.facts.agreement ?? ''}; ${silence(input)}`,
  },
  {
    name: 'throw not due',
    judgement: NodeJudgement.ALIVE,
    applies: ({ looked: { track }, nowMs, limits }) =>
      track.throwsMissed === 0 && track.lastSeen !== undefined && nowMs - track.lastSeen.atMs <= limits.throwMs,
    says: (input) => `alive a moment ago: ${silence(input)}`,
  },
  {
    name: 'not seen yet',
    judgement: NodeJudgement.UNSPECIFIED,
    applies: ({ looked: { track } }) => track.lastSeen === undefined && track.throwsMissed === 0,
    says: ({ looked }) => `no sign of life yet, and no throw was missed${uncounted(looked)}`,
  },
  {
    name: 'throws left',
    judgement: NodeJudgement.SUSPECT,
    applies: ({ looked: { track }, limits }) => track.throwsMissed < limits.throwsTotal,
    says: (input) => `${missed(input)} throws missed: ${silence(input)}${uncounted(input.looked)}`,
  },
  ALL_THROWS_MISSED,
] as const satisfies readonly Rule[];

export type RuleName = (typeof RULES)[number]['name'];

/** What follows from the evidence about a node. */
export interface Verdict {
  judgement: NodeJudgement;
  rule: RuleName;
  /** One sentence without a full stop. */
  detail: string;
  throwsMissed: number;
  throwsTotal: number;
  /** How many missed throws a sign of life has just made good. */
  throwsSaved: number;
  /** What to hand in at the next look. */
  track: Track;
}

/**
 * Judges a node. Pure: `nowMs` is the observer's monotonic clock, `before` the track of its last verdict on this node
 * (undefined: none). To be called several times per throw.
 */
export function judge(
  before: Track | undefined,
  facts: NodeFacts,
  nowMs: number,
  limits: JudgementLimits = JUDGEMENT_LIMITS,
): Verdict {
  const looked = look(before, facts, nowMs, limits);
  const input = { facts, looked, nowMs, limits };
  const rule = RULES.find(({ applies }) => applies(input)) ?? ALL_THROWS_MISSED;
  return {
    judgement: rule.judgement,
    rule: rule.name,
    detail: rule.says(input),
    throwsMissed: looked.track.throwsMissed,
    throwsTotal: limits.throwsTotal,
    throwsSaved: looked.throwsSaved,
    track: looked.track,
  };
}

const isAgentAlive = (observation: Observation): boolean => observation.sign === 'alive' && isOfAgent(observation);

/** Looked for and not there: what could not be looked for is not gone. */
const isGone = ({ observations }: NodeFacts, source: EvidenceSource): boolean =>
  observations.some((each) => each.source === source && each.sign === 'silent');

function seenBy({ signs, throwsSaved }: Look): string {
  const again = throwsSaved === 0 ? '' : `, back after ${String(throwsSaved)} missed throws`;
  return `${again}: ${signs.join(' and ')}`;
}

function missed({ looked: { track }, limits }: RuleInput): string {
  return `${String(track.throwsMissed)}/${String(limits.throwsTotal)}`;
}

function silence({ looked: { track }, nowMs }: RuleInput): string {
  if (track.lastSeen === undefined) return 'no sign of life yet';
  return `no sign of life for ${seconds(nowMs - track.lastSeen.atMs)}, the last was ${track.lastSeen.by.join(' and ')}`;
}

function uncounted({ notCounted }: Look): string {
  return notCounted === undefined ? '' : ` (not counting: ${notCounted})`;
}
