// SPDX-License-Identifier: Apache-2.0
import { FencerServiceDefinition, type FencerServiceImplementation } from '@lockstep/sdk/v1';
import type { JudgementLimits } from '../core/judgement/facts.js';
import {
  createLeadership,
  type Leadership,
  type LeadershipTimings,
  type LeaderView,
  type Term,
} from '../membership/leadership.js';
import { locationOf } from '../membership/location.js';
import type { NodeStreamTimings } from '../membership/node-stream.js';
import type { FencerEnv } from '../platform/env.js';
import { forwardToLeader } from '../platform/rpc/forward.js';
import { createFencerApi, type FencerDesk } from './api.js';
import type { BmcRoundTimings } from './bmc-rounds.js';
import type { FencingSettings } from './leading.js';
import type { FreshnessLimits } from './sight/evidence.js';
import { openTerm } from './term.js';

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
  fencing?: Partial<FencingSettings>;
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

/** A Fencer that watches, judges, and proves dead what is dead. */
export function createFencer(env: FencerEnv, { name, timings = {}, fencing = {} }: FencerConfig): Fencer {
  let leadership: Leadership | undefined;
  let desk: FencerDesk | undefined;
  const leader = (): LeaderView => leadership?.leader() ?? { kind: 'none' };

  const lead = async (term: Term): Promise<void> => {
    const work = await openTerm(env, term, { name, timings, fencing });
    desk = work.desk;
    try {
      await work.run();
    } finally {
      if (desk === work.desk) desk = undefined;
    }
  };

  const implementation = forwardToLeader(FencerServiceDefinition, createFencerApi(env, () => desk), {
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
