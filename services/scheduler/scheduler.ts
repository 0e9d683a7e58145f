// SPDX-License-Identifier: Apache-2.0
import {
  SchedulerServiceDefinition,
  type SchedulerServiceImplementation,
} from '@lockstep/sdk/v1';
import { armingCodec, drainCodec, eventCodec, migrationCodec, networkCodec, vmCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { createEventLog } from '../membership/events.js';
import {
  createLeadership,
  type Leadership,
  type LeadershipTimings,
  type LeaderView,
  type Term,
} from '../membership/leadership.js';
import { locationOf } from '../membership/location.js';
import { createNodeStreams } from '../membership/node-streams.js';
import { heardEpochOf } from '../membership/overtaken.js';
import type { Env } from '../platform/env.js';
import { forwardToLeader } from '../platform/rpc/forward.js';
import { createApi, type LeaderDesk } from './api.js';
import { Assignments } from './assign.js';
import { createLedger } from '../membership/ledger.js';
import { keepBounded, readPruned } from '../membership/history.js';
import { eventHistory } from './events.js';
import { limitsOf } from './limits.js';
import { countMigrations } from './metrics.js';
import { migrationHistory } from './migrations/history.js';
import { MigrationQueue } from './migrations/queue.js';
import { tellFenceability } from './nodes/fenceability.js';
import { followSilentAgents } from './nodes/silent-agents.js';
import { NetworkAssignments } from './networks/apply.js';
import { drainHistory } from './drains/history.js';
import { DrainWatch } from './drains/drain-watch.js';
import { Evacuation } from './drains/evacuation.js';
import { Homecoming } from './drains/homecoming.js';
import { readOptions } from './options.js';
import { createOrders } from './orders.js';
import { Recovery } from './recovery/recovery.js';
import { Relocations } from './recovery/relocations.js';
import { RecordCache } from '../membership/record-cache.js';
import { RequestTurns } from '../membership/requests.js';
import type { Leading } from './term.js';
import { MovedByHand } from './vms/moved-by-hand.js';

export interface SchedulerConfig {
  /** This replica's name. */
  name: string;
  timings?: Partial<LeadershipTimings>;
}

/** One replica of the Scheduler. */
export interface Scheduler {
  /** Every replica answers; those that do not lead forward to the one that does. */
  readonly implementation: SchedulerServiceImplementation;
  /** Begins to run for the leadership. `address` is where this replica can be called, host:port. */
  start(address: string): void;
  leader(): LeaderView;
  /** Ends leading in order. Running migrations go on at the next leader. Repeating it waits along. */
  close(): Promise<void>;
}

export function createScheduler(env: Env, { name, timings }: SchedulerConfig): Scheduler {
  let leadership: Leadership | undefined;
  let desk: LeaderDesk | undefined;
  const leader = (): LeaderView => leadership?.leader() ?? { kind: 'none' };

  const lead = async (term: Term): Promise<void> => {
    desk = await openDesk(env, term);
    env.log.ok('leads', { leaderEpoch: term.leaderEpoch });
    try {
      await desk.leading.nodes.done;
    } finally {
      desk = undefined;
    }
  };

  return {
    implementation: forwardToLeader(SchedulerServiceDefinition, createApi(env, leader, () => desk), {
      clock: env.clock,
      leader: () => locationOf(leader()),
      client: (address) => env.peers.scheduler(address),
    }),
    start: (address) => {
      leadership ??= createLeadership({
        env,
        role: 'scheduler',
        name,
        address,
        lead,
        ...(timings === undefined ? {} : { timings }),
      });
    },
    leader,
    close: async () => {
      await leadership?.close();
    },
  };
}

/** Builds all a leader works with; serves from the moment that the records were read. */
async function openDesk(env: Env, term: Term): Promise<LeaderDesk> {
  const nodes = createNodeStreams({
    env,
    role: 'scheduler',
    leaderEpoch: term.leaderEpoch,
    signal: term.ended,
    onTrouble: (_node, error) => {
      const heard = heardEpochOf('scheduler', error);
      if (heard !== undefined) term.overtaken(heard);
    },
  });
  const leading: Leading = {
    env,
    term,
    nodes,
    ledger: createLedger(env, term),
    orders: createOrders(env, term, nodes),
    turns: new RequestTurns(),
    vms: new RecordCache(keys.vms, vmCodec, env.log.child('vms')),
    migrations: new RecordCache(keys.migrations, migrationCodec, env.log.child('migrations')),
    networks: new RecordCache(keys.networks, networkCodec, env.log.child('networks')),
    drains: new RecordCache(keys.drains, drainCodec, env.log.child('drains')),
    eventRecords: new RecordCache(keys.events, eventCodec, env.log.child('events')),
    events: createEventLog(env, term, 'scheduler'),
    arming: new RecordCache(keys.arming, armingCodec, env.log.child('arming')),
    prunedUpTo: await readPruned(env),
    options: await readOptions(env),
    defining: new Set(),
    creating: new Map(),
    undefining: new Set(),
    adopting: new Set(),
    rehoming: new Map(),
    noTarget: new Map(),
    toTellAgain: new Set(),
    storageHeld: new Map(),
    elsewhere: new Map(),
    silentAgents: new Set(),
    cannotLeave: new Map(),
  };
  const caches = [leading.vms, leading.migrations, leading.drains, leading.networks, leading.eventRecords, leading.arming];
  await Promise.all(caches.map((cache) => cache.open(env.store, term.ended)));
  countMigrations(leading);
  const queue = new MigrationQueue(leading, () => limitsOf(leading.options));
  const assignments = new Assignments(leading);
  queue.start();
  assignments.start();
  new Recovery(leading).start();
  new Relocations(leading).start();
  new MovedByHand(leading).start();
  new NetworkAssignments(leading).start();
  new Evacuation(leading, queue).start();
  new Homecoming(leading).start();
  new DrainWatch(leading).start();
  tellFenceability(leading);
  followSilentAgents(leading);
  keepBounded(leading, migrationHistory(leading));
  keepBounded(leading, drainHistory(leading));
  keepBounded(leading, eventHistory(leading));
  return { leading, queue };
}
