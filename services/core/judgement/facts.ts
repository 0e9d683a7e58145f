// SPDX-License-Identifier: Apache-2.0
import { EvidenceSource } from '@lockstep/sdk/v1';

/** What an observation says: `unknown` is neither a sign of life nor its absence. */
export type Sign = 'alive' | 'silent' | 'unknown';

/** One look at a node, from one place. */
export interface Observation {
  source: EvidenceSource;
  /** The observing node or service. */
  observer: string;
  /** The network it was observed over; empty where that means nothing. */
  network: string;
  sign: Sign;
  /** By the observer's own monotonic clock; undefined: never seen. */
  ageMs: number | undefined;
  /** One line. */
  detail: string;
}

/** Where a node is in its life, by its own last word in its present incarnation. */
export type OwnPhase = 'starting' | 'serving' | 'leaving';

/** All that is known of one node at one moment. */
export interface NodeFacts {
  /** Grows by one whenever its agent joins. */
  incarnation: bigint;
  /** The fence action that proved it off; empty: none. Its next joining clears it. */
  fencedBy: string;
  observations: readonly Observation[];
  /** Undefined: it has said nothing in this incarnation. */
  ownPhase: OwnPhase | undefined;
  /** It was ready for at least a minute since it joined. */
  steady: boolean;
  /** Its last word is on record: it went down in order to stay off, and nothing of the cluster runs there. */
  leftInOrder: boolean;
  /** Who read its power as off after its last word, in words; undefined: nobody, or it spoke since. */
  powerOff: string | undefined;
  /** Peers that agree over separate networks that it is gone, in words; undefined: too few do. */
  agreement: string | undefined;
  /** Why the observer's own sight is suspect, so that silence means nothing now; undefined: it is not. */
  observerBlind: string | undefined;
}

/** How long a node may be silent. Milliseconds of the observer's monotonic clock. */
export interface JudgementLimits {
  /** Saving throws a silent node has. */
  throwsTotal: number;
  /** Time between two throws. */
  throwMs: number;
  /** An observer that did not look for so long has stood still itself: what it missed does not count. */
  observerStallMs: number;
  /** How long a node that said it leaves may be silent before its throws begin. */
  leavingLimitMs: number;
}

export const JUDGEMENT_LIMITS: JudgementLimits = {
  throwsTotal: 6,
  throwMs: 5_000,
  observerStallMs: 5_000,
  leavingLimitMs: 600_000,
};

/** The sources in words. */
export const SOURCE_NAMES = {
  [EvidenceSource.UNSPECIFIED]: 'somewhere',
  [EvidenceSource.STORE_SESSION]: 'its session in the store',
  [EvidenceSource.SERF]: 'the membership of the store',
  [EvidenceSource.AGENT_STREAM]: "its agent's stream",
  [EvidenceSource.PEER_PROBE]: 'a probe by a peer',
  [EvidenceSource.BMC_POWER]: 'its power, read from its BMC',
  [EvidenceSource.OWN_WORD]: 'its own word',
  [EvidenceSource.UNRECOGNIZED]: 'somewhere',
} as const satisfies Record<EvidenceSource, string>;

/** Whether a sign comes from the agent itself, and not from its host or from what others believe of it. */
export function isOfAgent({ source }: Observation): boolean {
  return source !== EvidenceSource.SERF && source !== EvidenceSource.BMC_POWER;
}

/** The signs of life in words, each once, e.g. "its agent's stream and its session in the store". */
export function signsOf(observations: readonly Observation[]): string[] {
  return [...new Set(observations.filter(({ sign }) => sign === 'alive').map(inWords))];
}

/** A probe is named with its path: it is how a host that is cut off on one side lives on. */
function inWords({ source, observer, network }: Observation): string {
  if (source !== EvidenceSource.PEER_PROBE) return SOURCE_NAMES[source];
  return `${SOURCE_NAMES[source]} (${observer} over ${network})`;
}
