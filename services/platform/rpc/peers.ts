// SPDX-License-Identifier: Apache-2.0
import type { CallLimits } from '@lockstep/sdk/transport';
import type { FencerServiceClient, NodeAgentServiceClient, SchedulerServiceClient } from '@lockstep/sdk/v1';

/**
 * Limits of a call, beside nice-grpc's own `signal` and `metadata`. Unary calls: 10,000 ms unless told. Streams: none
 * unless told; they end by their signal or by keepalive.
 */
export type PeerCall = CallLimits;

/**
 * Clients of the other services by address (host:port). Connections are kept warm and shared. A failed call rejects with
 * LockstepError: its own reason where the peer gave one, NODE_UNREACHABLE where nobody answered, DEADLINE where the
 * limit passed; Cancelled where the caller's signal aborted.
 */
export interface Peers {
  agent(address: string): NodeAgentServiceClient<PeerCall>;
  scheduler(address: string): SchedulerServiceClient<PeerCall>;
  fencer(address: string): FencerServiceClient<PeerCall>;
}
