// SPDX-License-Identifier: Apache-2.0
import type { Arming, ClusterOptions, Drain, Event, Migration, Network, Vm } from '@lockstep/sdk/v1';
import type { EventLog } from '../membership/events.js';
import type { NodeStreams } from '../membership/node-streams.js';
import type { Term } from '../membership/leadership.js';
import type { Env } from '../platform/env.js';
import type { Ledger } from '../membership/ledger.js';
import type { Orders } from './orders.js';
import type { RecordCache } from '../membership/record-cache.js';
import type { RequestTurns } from '../membership/requests.js';

/**
 * What the leading Scheduler works with from taking the leadership to losing it. Nothing of it outlives the term: the
 * next leader builds its own from the store and from the agents.
 */
export interface Leading {
  env: Env;
  term: Term;
  ledger: Ledger;
  vms: RecordCache<Vm>;
  migrations: RecordCache<Migration>;
  networks: RecordCache<Network>;
  drains: RecordCache<Drain>;
  /** Written by both leaders; read here. */
  eventRecords: RecordCache<Event>;
  events: EventLog;
  /** Whether the cluster's care is switched off; the Fencer's leader writes it. */
  arming: RecordCache<Arming>;
  /** By kind of record: the index up to which its history was pruned. */
  prunedUpTo: Map<string, bigint>;
  nodes: NodeStreams;
  orders: Orders;
  turns: RequestTurns;
  /** What an operator set for the whole cluster; undefined: nothing. */
  options: ClusterOptions | undefined;
  /** VMs whose first record is being written down right now, as placed at their home: their room there is taken (INV-6). */
  defining: Set<Vm>;
  /** VMs whose migration is being written down right now, and to which node: their room there is taken (INV-6). */
  creating: Map<string, string>;
  /** VMs that are being undefined at this moment. */
  undefining: Set<string>;
  /** VMs that are being adopted: their node is told of them once their domains carry their placement epochs. */
  adopting: Set<string>;
  /** VMs that their node may have given up for something that was not written then. */
  toTellAgain: Set<string>;
  /** VMs on their way to a node by a decision that is being written down: their room there is taken (INV-6). */
  rehoming: Map<string, string>;
  /** VMs that no node can take now, and why, node by node. */
  noTarget: Map<string, string>;
  /** VMs whose disks a host that is proven off still has locked, and why that could not be ended yet. */
  storageHeld: Map<string, { reason: string; detail: string }>;
  /** VMs that are not started on their node, as they may run on another, and why that is not known. */
  elsewhere: Map<string, { reason: string; detail: string }>;
  /** Nodes whose agent is silent while their host lives, as the store's membership has it. */
  silentAgents: Set<string>;
  /** VMs that cannot leave a node that is to be empty, and why. */
  cannotLeave: Map<string, { reason: string; detail: string }>;
}
