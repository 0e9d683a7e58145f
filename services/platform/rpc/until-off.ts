// SPDX-License-Identifier: Apache-2.0
import { mapMethods, streamOf, unaryOf, type LimitedCallOptions, type UntypedClient } from '@lockstep/sdk/transport';
import { NodeAgentServiceDefinition, type NodeAgentServiceClient } from '@lockstep/sdk/v1';
import type { PeerCall } from './peers.js';

/**
 * An agent's client whose unary calls fail with the reason of `off` as soon as that aborts: a host without power closes
 * no connection, and nothing it might still answer counts. Streams are their callers' to end.
 */
export function untilOff(client: NodeAgentServiceClient<PeerCall>, off: AbortSignal): NodeAgentServiceClient<PeerCall> {
  const untyped = client as unknown as UntypedClient;
  return mapMethods(NodeAgentServiceDefinition, {
    unary: (method) => async (request, options?: LimitedCallOptions) => {
      off.throwIfAborted();
      const caller = options?.signal;
      const ended = new AbortController();
      const end = (): void => {
        ended.abort(off.aborted ? off.reason : caller?.reason);
      };
      off.addEventListener('abort', end);
      caller?.addEventListener('abort', end);
      if (caller?.aborted === true) end();
      try {
        return await unaryOf(untyped, method)(request, { ...options, signal: ended.signal });
      } catch (error) {
        off.throwIfAborted();
        throw error;
      } finally {
        off.removeEventListener('abort', end);
        caller?.removeEventListener('abort', end);
      }
    },
    stream: (method) => (request, options) => streamOf(untyped, method)(request, options),
  }) as NodeAgentServiceClient<PeerCall>;
}
