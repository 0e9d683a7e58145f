// SPDX-License-Identifier: Apache-2.0
import { LeaderRole, type NodeAgentServiceClient, type OrderHeader } from '@lockstep/sdk/v1';
import { LockstepError } from '../core/errors/catalogue.js';
import type { NodeStreams } from '../membership/node-streams.js';
import type { Term } from '../membership/leadership.js';
import { heardByMany } from '../platform/clock/heard-by-many.js';
import type { Env } from '../platform/env.js';
import type { PeerCall } from '../platform/rpc/peers.js';
import { untilOff } from '../platform/rpc/until-off.js';

/** An agent that can be given orders, and the header they carry. */
export interface Agent {
  node: string;
  incarnation: bigint;
  client: NodeAgentServiceClient<PeerCall>;
  header: OrderHeader;
}

/** Finds agents and puts the leader's epoch at the head of every order (INV-4). */
export interface Orders {
  /**
   * The agent of a node as it joined last. Fails with NODE_NOT_FOUND. Where the host is proven off, or is while an order
   * is under way, the order fails with HOST_OFF.
   */
  agent(node: string): Agent;
  /** The number of the next wish that is told to an agent; an agent refuses one that comes after a higher one. */
  nextWish(): bigint;
}

export function createOrders(env: Env, term: Term, nodes: NodeStreams): Orders {
  const offs = new HostsOff(nodes);
  let wishes = 0n;
  return {
    nextWish: () => (wishes += 1n),
    agent(name) {
      const view = nodes.node(name);
      if (view === undefined) {
        throw new LockstepError('NODE_NOT_FOUND', `there is no node ${name}`, { node: name });
      }
      const { address, incarnation } = view.record;
      return {
        node: name,
        incarnation,
        client: untilOff(env.peers.agent(address), offs.signalOf(name)),
        header: { leaderRole: LeaderRole.SCHEDULER, leaderEpoch: term.leaderEpoch, incarnation },
      };
    },
  };
}

/** A signal per node that aborts when its host is proven off; the node's next joining brings a new one. */
class HostsOff {
  private readonly signals = new Map<string, AbortController>();

  constructor(private readonly nodes: NodeStreams) {
    nodes.onChange(() => {
      for (const name of [...this.signals.keys()]) this.update(name);
    });
  }

  signalOf(name: string): AbortSignal {
    if (!this.signals.has(name)) this.signals.set(name, fresh());
    this.update(name);
    return this.signals.get(name)?.signal ?? fresh().signal;
  }

  private update(name: string): void {
    const known = this.signals.get(name);
    const fencedBy = this.nodes.node(name)?.record.fencedBy ?? '';
    if (fencedBy === '') {
      if (known?.signal.aborted === true) this.signals.set(name, fresh());
    } else {
      known?.abort(new LockstepError('HOST_OFF', `${name} is proven off by ${fencedBy}`, { node: name }));
    }
  }
}

function fresh(): AbortController {
  const controller = new AbortController();
  heardByMany(controller.signal);
  return controller;
}
