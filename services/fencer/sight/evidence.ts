// SPDX-License-Identifier: Apache-2.0
import {
  EvidenceSource,
  NodeJudgement,
  NodeLeavingKind,
  type Evidence,
  type FenceDrill,
  type Node,
  type NodeEvidence,
} from '@lockstep/sdk/v1';
import { seconds } from '../../core/judgement/throws.js';
import type { NodeFacts, Observation, OwnPhase } from '../../core/judgement/facts.js';
import type { Verdict } from '../../core/judgement/judge.js';
import type { NodeView } from '../../membership/node-streams.js';
import { agreementOf, type ProbeTally } from '../../core/judgement/agreement.js';
import { notFenceable, type Finding } from '../../core/fencing/bmc-check.js';
import { bmcVerdict, distrusted, type BmcCheck } from '../../core/fencing/bmc-verdict.js';
import { durationOf } from '../../core/duration.js';
import { furtherSeen } from './further-signs.js';
import type { Heard } from './hearsay.js';
import type { PowerReading } from './power-reads.js';
import type { ProbeSeen } from './peer-probes.js';

/** How old a sign of life may be to count as one. Milliseconds. */
export interface FreshnessLimits {
  /** Of the last message of an agent: longer than it is between two of its heartbeats. */
  streamMs: number;
  /** Of the store's last answer: longer than it is between two renewals of this leader's own session. */
  storeMs: number;
}

export const FRESHNESS_LIMITS: FreshnessLimits = { streamMs: 7_500, storeMs: 8_000 };

/** The one who looks, and how well it sees. */
export interface Observer {
  name: string;
  nowMs: number;
  /** When the store was asked for what it answered last. */
  storeAnsweredAtMs: number;
  /** When following the store last failed; undefined: never. */
  storeTroubleAtMs: number | undefined;
  limits: FreshnessLimits;
}

/** What was looked for besides, and has arrived. */
export interface Sights {
  probes: readonly ProbeSeen[];
  tallies: readonly ProbeTally[];
  power: PowerReading | undefined;
  members: Heard<boolean>;
  scheduler: Heard<number>;
}

/** All that is known of a node now. Observing needs no I/O: all has arrived already. */
export function factsOf(view: NodeView, observer: Observer, sights: Sights): NodeFacts {
  const observerBlind = blindness(observer);
  const own = view.report?.node.incarnation === view.record.incarnation ? view.report.node : undefined;
  const observations = [
    sessionSeen(view, observer, observerBlind),
    streamSeen(view, observer),
    ...furtherSeen(view, observer, sights),
  ];
  if (own !== undefined) observations.push(ownWord(own, view, observer));
  return {
    incarnation: view.record.incarnation,
    fencedBy: view.record.fencedBy,
    observations,
    ownPhase: own === undefined ? phaseOnRecord(view.record) : phaseOf(own),
    steady: view.record.steady,
    leftInOrder: view.record.leaving?.left === true && view.record.leaving.kind === NodeLeavingKind.SHUTDOWN,
    powerOff: powerOffOf(view, observer, sights),
    agreement: agreementOf(sights.tallies),
    observerBlind,
  };
}

/** When the agent itself was last heard by anybody, by this process's clock; undefined: by nobody yet. */
export function lastWordAtMs({ name, lastMessageAtMs }: NodeView, { probes, scheduler }: Sights): number | undefined {
  const heard = [lastMessageAtMs, scheduler.nodes?.get(name), ...probes.map(({ lastAnswerAtMs }) => lastAnswerAtMs)];
  const times = heard.filter((atMs) => atMs !== undefined);
  return times.length === 0 ? undefined : Math.max(...times);
}

/** "Off" counts from a device that is believed, and where the agent said nothing to anybody since it was asked. */
function powerOffOf(view: NodeView, { nowMs }: Observer, sights: Sights): string | undefined {
  const { power } = sights;
  if (power?.state !== 'off' || nowMs - power.endedAtMs > POWER_FRESH_MS || view.record.powerDistrust !== '') {
    return undefined;
  }
  if (power.incarnation !== view.record.incarnation) return undefined;
  const spokeAtMs = lastWordAtMs(view, sights);
  return spokeAtMs !== undefined && spokeAtMs >= power.startedAtMs ? undefined : power.detail;
}

/** A reading of the power that is older says nothing about now. */
const POWER_FRESH_MS = 15_000;

/** All that an observer knows of one node at one moment. */
interface Looks {
  facts: NodeFacts;
  verdict: Verdict;
  checks: readonly BmcCheck[];
  drill: FenceDrill | undefined;
  nowMs: number;
}

/** What really failed is no better because its BMC answers well. */
function worst(checked: Finding, powerDistrust: string, drill: FenceDrill | undefined): Finding {
  if (powerDistrust !== '' || drill === undefined || drill.cycleFailure === '') return distrusted(checked, powerDistrust);
  return notFenceable(`its last power cycle failed: ${drill.cycleFailure}`);
}

/** What is shown of a node, from its facts and what follows from them. */
export function toNodeEvidence(
  view: NodeView,
  { facts, verdict, checks, drill, nowMs }: Looks,
): NodeEvidence {
  const { powerDistrust } = view.record;
  const { fenceability, detail } = worst(bmcVerdict(view.name, checks), powerDistrust, drill);
  return {
    node: view.name,
    judgement: verdict.judgement,
    rule: `${verdict.rule}: ${verdict.detail}`,
    throwsMissed: verdict.throwsMissed,
    throwsTotal: verdict.throwsTotal,
    evidence: facts.observations.map(toEvidence),
    fenceability,
    fenceabilityDetail: detail,
    lastDrill: drill,
    fenceabilityChecks: checks.map(({ atMs, ...check }) => ({ ...check, age: durationOf(nowMs - atMs) })),
  };
}

function toEvidence({ source, observer, network, sign, ageMs, detail }: Observation): Evidence {
  const age = ageMs === undefined ? undefined : durationOf(ageMs);
  return { source, observer, network, alive: sign === 'alive', age, detail };
}

/** An observer cut off from the store may be the one that is cut off from everything. */
export function blindness({ nowMs, storeAnsweredAtMs, storeTroubleAtMs, limits }: Observer): string | undefined {
  const silentMs = nowMs - storeAnsweredAtMs;
  if (silentMs > limits.storeMs) return `the store has not answered this observer for ${seconds(silentMs)}`;
  if (storeTroubleAtMs === undefined || nowMs - storeTroubleAtMs > limits.storeMs) return undefined;
  return `this observer cannot follow the store: it failed ${seconds(nowMs - storeTroubleAtMs)} ago`;
}

function sessionSeen({ name, session }: NodeView, observer: Observer, blind: string | undefined): Observation {
  const held = session === undefined ? `nobody holds alive/${name}` : `session ${session} holds alive/${name}`;
  const answered = session === undefined ? 'silent' : 'alive';
  return {
    source: EvidenceSource.STORE_SESSION,
    observer: observer.name,
    network: '',
    sign: blind === undefined ? answered : 'unknown',
    ageMs: observer.nowMs - observer.storeAnsweredAtMs,
    detail: blind === undefined ? held : `not known now, when last read ${held}: ${blind}`,
  };
}

function streamSeen({ lastMessageAtMs, connected, trouble }: NodeView, { name, nowMs, limits }: Observer): Observation {
  const ageMs = lastMessageAtMs === undefined ? undefined : nowMs - lastMessageAtMs;
  const isFresh = ageMs !== undefined && ageMs <= limits.streamMs;
  const spoken = ageMs === undefined ? 'it never said anything' : `last message ${seconds(ageMs)} ago`;
  return {
    source: EvidenceSource.AGENT_STREAM,
    observer: name,
    network: '',
    sign: isFresh ? 'alive' : 'silent',
    ageMs,
    detail: connected ? spoken : `${spoken}; no stream now: ${trouble}`,
  };
}

/** What a node says of itself is context for the other signs, not one of its own: words outlive who spoke them. */
function ownWord(own: Node, { name: node, lastMessageAtMs }: NodeView, { nowMs }: Observer): Observation {
  const phase = phaseOf(own);
  const reason = own.ready || own.notReadyReason === '' ? '' : `, not ready: ${own.notReadyReason}`;
  return {
    source: EvidenceSource.OWN_WORD,
    observer: node,
    network: '',
    sign: 'unknown',
    ageMs: lastMessageAtMs === undefined ? undefined : nowMs - lastMessageAtMs,
    detail: `it last said: ${phase}${reason}`,
  };
}

/** The one word that is durable: an observer that never heard the agent itself finds it there. */
function phaseOnRecord({ leaving }: Node): OwnPhase | undefined {
  return leaving === undefined ? undefined : 'leaving';
}

/** An agent that names its phase is believed; one that does not is starting until it is ready for the first time. */
function phaseOf({ judgement, ready }: Node): OwnPhase {
  switch (judgement) {
    case NodeJudgement.LEAVING:
      return 'leaving';
    case NodeJudgement.STARTING:
      return 'starting';
    case NodeJudgement.ALIVE:
      return 'serving';
    case NodeJudgement.UNSPECIFIED:
    case NodeJudgement.SUSPECT:
    case NodeJudgement.DEAD_UNPROVEN:
    case NodeJudgement.DEAD_PROVEN:
    case NodeJudgement.UNRECOGNIZED:
      return ready ? 'serving' : 'starting';
  }
}
