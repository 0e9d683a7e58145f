// SPDX-License-Identifier: Apache-2.0
import type { Arming, FenceAction, FenceDrill } from '@lockstep/sdk/v1';
import type { BrakeLimits } from '../core/fencing/brake.js';
import type { LadderSettings } from '../core/fencing/ladder.js';
import type { Happening } from '../membership/events.js';
import type { Ledger } from '../membership/ledger.js';
import type { Term } from '../membership/leadership.js';
import type { NodeStreams } from '../membership/node-streams.js';
import type { RecordCache } from '../membership/record-cache.js';
import type { RequestTurns } from '../membership/requests.js';
import type { FencerEnv } from '../platform/env.js';
import type { Judging } from './judging.js';

/** How long each piece of fencing may take. Milliseconds. */
export interface FencingTimings {
  /** One request to a device. */
  deviceCallMs: number;
  /** From the order "off" until it must read so. */
  readBackMs: number;
  /** Between two readings. */
  readEveryMs: number;
  /** How long an agent that is heard has to stop its VMs; one that is silent is only asked for `agentSilentMs`. */
  agentMs: number;
  agentSilentMs: number;
  /** An agent that was heard this lately is listened for as long again after its power read off. */
  silenceMs: number;
  /** Pauses before an action that proved nothing is tried again. */
  retryFirstMs: number;
  retryMostMs: number;
  /** How long a host that was switched on may take until its agent is heard, before it may be fenced again. */
  bootMs: number;
  /** How long the power stays off for the Scheduler to take the proof, where the node is to be switched on again. */
  powerOnAfterMs: number;
}

export const FENCING_TIMINGS: FencingTimings = {
  deviceCallMs: 25_000,
  readBackMs: 60_000,
  readEveryMs: 500,
  agentMs: 20_000,
  agentSilentMs: 1_000,
  silenceMs: 3_000,
  retryFirstMs: 2_000,
  retryMostMs: 60_000,
  bootMs: 600_000,
  powerOnAfterMs: 60_000,
};

export const DRILL_EVERY_MS = 24 * 3_600_000;

export interface FencingSettings {
  ladder: LadderSettings;
  /** Of nodes whose ladder is another one. */
  ladders: ReadonlyMap<string, LadderSettings>;
  brake: BrakeLimits;
  /** How often each node's ladder is tested without harm; 0: only when somebody asks. */
  drillEveryMs: number;
  timings: FencingTimings;
}

/** What the leading Fencer works with from taking the leadership to losing it. */
export interface FencerLeading {
  env: FencerEnv;
  /** This replica's name: that of the node it runs on. */
  name: string;
  term: Term;
  ledger: Ledger;
  streams: NodeStreams;
  judging: Judging;
  actions: RecordCache<FenceAction>;
  /** The last test of each node's ladder, by node. */
  drills: RecordCache<FenceDrill>;
  arming: RecordCache<Arming>;
  settings: FencingSettings;
  turns: RequestTurns;
  startedAtMs: number;
  /** By kind of record: the index up to which its history was pruned. */
  prunedUpTo: Map<string, bigint>;
  /** Tells people what happened; never fails. */
  tell: (happening: Happening) => Promise<void>;
}

export function ladderOf({ settings }: FencerLeading, node: string): LadderSettings {
  return settings.ladders.get(node) ?? settings.ladder;
}
