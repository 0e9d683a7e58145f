// SPDX-License-Identifier: Apache-2.0
import { FencerServiceDefinition, type FencerServiceImplementation } from '@lockstep/sdk/v1';
import { JUDGEMENT_LIMITS, type JudgementLimits } from '../core/judgement/facts.js';
import {
  createLeadership,
  type Leadership,
  type LeadershipTimings,
  type LeaderView,
  type Term,
} from '../membership/leadership.js';
import { locationOf } from '../membership/location.js';
import type { NodeStreamTimings } from '../membership/node-stream.js';
import { createNodeStreams } from '../membership/node-streams.js';
import { heardEpochOf } from '../membership/overtaken.js';
import type { Env } from '../platform/env.js';
import { forwardToLeader } from '../platform/rpc/forward.js';
import { BMC_ROUND_TIMINGS, BmcRounds, type BmcRoundTimings } from './bmc-rounds.js';
import { FRESHNESS_LIMITS, type FreshnessLimits } from './evidence.js';
import { Judging } from './judging.js';
import { createFencerService } from './service.js';

/** What can be set of a Fencer's times; the defaults of each stand beside it. */
export interface FencerTimings {
  /** Time between two looks at all nodes: 1,000 ms. */
  lookEveryMs?: number;
  leadership?: Partial<LeadershipTimings>;
  streams?: Partial<NodeStreamTimings>;
  judgement?: Partial<JudgementLimits>;
  freshness?: Partial<FreshnessLimits>;
  bmcRounds?: Partial<BmcRoundTimings>;
}

export interface FencerConfig {
  /** This replica's name. */
  name: string;
  timings?: FencerTimings;
}

/** One replica of the Fencer. */
export interface Fencer {
  /** Every replica answers; those that do not lead forward to the one that does. */
  readonly implementation: FencerServiceImplementation;
  /** Begins to run for the leadership. `address` is where this replica can be called, host:port. */
  start(address: string): void;
  leader(): LeaderView;
  /** Ends leading in order. Repeating it waits along. */
  close(): Promise<void>;
}

const LOOK_EVERY_MS = 1_000;

/** A Fencer that watches and judges. It acts on nothing yet. */
export function createFencer(env: Env, { name, timings = {} }: FencerConfig): Fencer {
  let leadership: Leadership | undefined;
  let judging: Judging | undefined;
  const leader = (): LeaderView => leadership?.leader() ?? { kind: 'none' };

  const lead = async (term: Term): Promise<void> => {
    const streams = createNodeStreams({
      env,
      role: 'fencer',
      leaderEpoch: term.leaderEpoch,
      signal: term.ended,
      timings: timings.streams ?? {},
      onTrouble: (_node, error) => {
        const heard = heardEpochOf('fencer', error);
        if (heard !== undefined) term.overtaken(heard);
      },
    });
    const rounds = new BmcRounds({ env, term, streams, timings: { ...BMC_ROUND_TIMINGS, ...timings.bmcRounds } });
    const mine = new Judging({
      env,
      name,
      term,
      streams,
      lookEveryMs: timings.lookEveryMs ?? LOOK_EVERY_MS,
      judgement: { ...JUDGEMENT_LIMITS, ...timings.judgement },
      freshness: { ...FRESHNESS_LIMITS, ...timings.freshness },
      checksOf: (node) => rounds.checksOf(node),
    });
    judging = mine;
    try {
      await Promise.all([mine.run(), rounds.run(), streams.done]);
    } finally {
      if (judging === mine) judging = undefined;
    }
  };

  const answered = createFencerService(() => judging?.evidence());
  const implementation = forwardToLeader(FencerServiceDefinition, answered, {
    clock: env.clock,
    leader: () => locationOf(leader()),
    client: (leaderAddress) => env.peers.fencer(leaderAddress),
  });
  return {
    implementation,
    start: (address) => {
      leadership ??= createLeadership({
        env,
        role: 'fencer',
        name,
        address,
        lead,
        ...(timings.leadership === undefined ? {} : { timings: timings.leadership }),
      });
    },
    leader,
    close: async () => {
      await leadership?.close();
    },
  };
}
