// SPDX-License-Identifier: Apache-2.0
import { LeaderRole, type NodeAgentServiceClient, type OrderHeader } from '@lockstep/sdk/v1';
import { LockstepError } from '../core/errors/catalogue.js';
import type { NodeStreams } from '../membership/node-streams.js';
import type { Term } from '../membership/leadership.js';
import type { Env } from '../platform/env.js';
import type { PeerCall } from '../platform/rpc/peers.js';

/** An agent that can be given orders, and the header they carry. */
export interface Agent {
  node: string;
  incarnation: bigint;
  client: NodeAgentServiceClient<PeerCall>;
  header: OrderHeader;
}

/** Finds agents and puts the leader's epoch at the head of every order (INV-4). */
export interface Orders {
  /** The agent of a node as it joined last. Fails with NODE_NOT_FOUND. */
  agent(node: string): Agent;
}

export function createOrders(env: Env, term: Term, nodes: NodeStreams): Orders {
  return {
    agent(name) {
      const view = nodes.node(name);
      if (view === undefined) {
        throw new LockstepError('NODE_NOT_FOUND', `there is no node ${name}`, { node: name });
      }
      const { address, incarnation } = view.record;
      return {
        node: name,
        incarnation,
        client: env.peers.agent(address),
        header: { leaderRole: LeaderRole.SCHEDULER, leaderEpoch: term.leaderEpoch, incarnation },
      };
    },
  };
}
