// SPDX-License-Identifier: Apache-2.0
import type { FencerServiceClient, NodeAgentServiceClient, SchedulerServiceClient } from '@lockstep/sdk/v1';
import { LockstepError, type Reason } from '@lockstep/services/core/errors/catalogue.js';
import { sleep } from '@lockstep/services/platform/clock/clock.js';
import type { PeerCall } from '@lockstep/services/platform/rpc/peers.js';
import { DESK, type Cluster } from './cluster.js';
import { Life } from './life.js';

export type SchedulerApi = SchedulerServiceClient<PeerCall>;
export type FencerApi = FencerServiceClient<PeerCall>;
export type AgentApi = NodeAgentServiceClient<PeerCall>;

/** Answers of a cluster that is busy with itself: asking again is what a client does. */
const LATER: readonly Reason[] = [
  ...['NODE_UNREACHABLE', 'DEADLINE', 'OUTCOME_UNKNOWN', 'CANCELLED', 'STORE_UNAVAILABLE'],
  ...['NO_LEADER', 'NOT_LEADER', 'STOPPING', 'STORE_CONFLICT'],
] as Reason[];
const PAUSE_MS = 1_000;
const PATIENCE_MS = 120_000;

/** Somebody who asks each thing until the cluster has answered it. */
export class Operator {
  readonly #life: Life;

  constructor(private readonly cluster: Cluster) {
    this.#life = new Life('desk', DESK, cluster.clock, { rate: 1, wallSkewMs: () => 0 });
  }

  /** Rejects with what the cluster refused it with, or with its last answer once patience is over. */
  scheduler<T>(what: string, call: (api: SchedulerApi) => Promise<T>): Promise<T> {
    return this.#ask(what, this.#addresses('scheduler'), (address) => call(this.cluster.rpc.peers(this.#life).scheduler(address)));
  }

  fencer<T>(what: string, call: (api: FencerApi) => Promise<T>): Promise<T> {
    return this.#ask(what, this.#addresses('fencer'), (address) => call(this.cluster.rpc.peers(this.#life).fencer(address)));
  }

  agent<T>(what: string, at: string, call: (api: AgentApi) => Promise<T>): Promise<T> {
    return this.#ask(what, [at], (address) => call(this.cluster.rpc.peers(this.#life).agent(address)));
  }

  #addresses(role: 'scheduler' | 'fencer'): string[] {
    return this.cluster.replicas.filter((replica) => replica.role === role).map(({ address }) => address);
  }

  async #ask<T>(what: string, addresses: readonly string[], call: (address: string) => Promise<T>): Promise<T> {
    const { clock, trace } = this.cluster;
    const untilMs = clock.nowMs() + PATIENCE_MS;
    for (let tries = 0; ; tries++) {
      try {
        const answer = await call(addresses[tries % addresses.length] ?? '');
        trace.add('desk', `${what}: done`);
        return answer;
      } catch (error) {
        const isLater = error instanceof LockstepError && LATER.includes(error.reason);
        if (!isLater || clock.nowMs() >= untilMs) {
          trace.add('desk', `${what}: ${error instanceof LockstepError ? `${error.reason}: ` : ''}${error instanceof Error ? error.message : String(error)}`);
          throw error;
        }
      }
      await sleep(clock, PAUSE_MS);
    }
  }
}
