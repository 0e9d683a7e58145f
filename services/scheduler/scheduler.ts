// SPDX-License-Identifier: Apache-2.0
import { SchedulerServiceDefinition, type ClusterOptions } from '@lockstep/sdk/v1';
import { LockstepError } from '../core/errors/catalogue.js';
import { migrationCodec, optionsCodec, vmCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { createLeadership, type Leadership, type LeadershipTimings, type Term } from '../membership/leadership.js';
import { createNodeStreams } from '../membership/node-streams.js';
import type { Env } from '../platform/env.js';
import { forwardToLeader, type LeaderLocation } from '../platform/rpc/forward.js';
import { service, type ServedService } from '../platform/rpc/implement.js';
import { createApi, type LeaderDesk } from './api.js';
import { Assignments } from './assign.js';
import { createLedger } from './ledger.js';
import { limitsOf } from './limits.js';
import { MigrationQueue } from './migrations/queue.js';
import { createOrders } from './orders.js';
import { RecordCache } from './record-cache.js';
import type { Leading } from './term.js';

export interface SchedulerConfig {
  /** This replica's name. */
  name: string;
  /** Where it can be called, host:port. */
  address: string;
  timings?: Partial<LeadershipTimings>;
}

/** One replica of the Scheduler. */
export interface Scheduler {
  readonly service: ServedService;
  readonly leadership: Leadership;
  /** Ends its term, if it leads, and follows nobody any more. Running migrations go on at the next leader. */
  close(): Promise<void>;
}

/** Runs for the leadership from now on; serves through whoever leads. */
export function createScheduler(env: Env, config: SchedulerConfig): Scheduler {
  let desk: LeaderDesk | undefined;
  const leadership = createLeadership({
    env,
    role: 'scheduler',
    name: config.name,
    address: config.address,
    ...(config.timings === undefined ? {} : { timings: config.timings }),
    lead: async (term) => {
      desk = await openDesk(env, term);
      env.log.ok('leads', { leaderEpoch: term.leaderEpoch });
      try {
        await ended(term);
      } finally {
        desk = undefined;
      }
    },
  });
  const implementation = createApi(env, leadership, () => desk);
  return {
    leadership,
    service: service(
      SchedulerServiceDefinition,
      forwardToLeader(SchedulerServiceDefinition, implementation, {
        clock: env.clock,
        leader: () => locationOf(leadership),
        client: (address) => env.peers.scheduler(address),
      }),
    ),
    close: () => leadership.close(),
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
      overtakenBy(term, error);
    },
  });
  const leading: Leading = {
    env,
    term,
    nodes,
    ledger: createLedger(env, term),
    orders: createOrders(env, term, nodes),
    vms: new RecordCache(keys.vms, vmCodec, env.log.child('vms')),
    migrations: new RecordCache(keys.migrations, migrationCodec, env.log.child('migrations')),
    options: await readOptions(env),
    creating: new Set(),
  };
  await Promise.all([leading.vms.open(env.store, term.ended), leading.migrations.open(env.store, term.ended)]);
  const queue = new MigrationQueue(leading, () => limitsOf(leading.options));
  const assignments = new Assignments(leading);
  queue.start();
  assignments.start();
  return { leading, queue };
}

async function readOptions(env: Env): Promise<ClusterOptions | undefined> {
  const entry = await env.store.get(keys.options, { consistency: 'consistent' });
  return entry === undefined ? undefined : optionsCodec.decode(entry.value, entry.index);
}

/** An agent that knows of a higher epoch of this role ends the term: somebody newer leads. */
function overtakenBy(term: Term, error: unknown): void {
  if (!(error instanceof LockstepError) || error.reason !== 'STALE_EPOCH') return;
  const kept = /^\d+$/.exec(error.metadata['leader_epoch'] ?? '');
  if (kept !== null) term.overtaken(BigInt(kept[0]));
}

function ended({ ended: signal }: Term): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener('abort', () => { resolve(); }, { once: true });
  });
}

function locationOf(leadership: Leadership): LeaderLocation {
  const leader = leadership.leader();
  switch (leader.kind) {
    case 'self':
      return { self: true };
    case 'other':
      return { address: leader.address };
    case 'none':
      return undefined;
  }
}
