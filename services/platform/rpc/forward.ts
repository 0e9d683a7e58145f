// SPDX-License-Identifier: Apache-2.0
import {
  type CallLimits,
  type LimitedCallOptions,
  mapMethods,
  type MethodInfo,
  type ServiceInfo,
  streamOf,
  unaryOf,
  type UntypedClient,
} from '@lockstep/sdk/transport';
import { type CallContext, type Client, Metadata, type ServiceImplementation } from 'nice-grpc';
import { LockstepError } from '../../core/errors/catalogue.js';
import type { Clock } from '../clock/clock.js';
import { callerOf, FORWARDED_KEY } from './caller.js';

/** Who leads, as this replica knows: itself, another one, or nobody; or why it cannot know. */
export type LeaderLocation =
  | { self: true }
  | { self?: false; address: string }
  | { self?: false; address?: undefined; trouble: LockstepError }
  | undefined;

/** How {@link forwardToLeader} finds the leader. */
export interface ForwardOptions<D extends ServiceInfo> {
  clock: Clock;
  /** Methods that every replica answers by itself. */
  local?: readonly (keyof D['methods'])[];
  leader: () => LeaderLocation;
  /** A client of the leader, e.g. `peers.scheduler`. */
  client: (address: string) => Client<D, CallLimits>;
}

function noLeader(message: string, metadata: Record<string, string> = {}, cause?: unknown): LockstepError {
  return new LockstepError('NO_LEADER', message, metadata, { cause });
}

/** A replica that cannot know who leads; another one may well, so this stays NO_LEADER, with the trouble's own words. */
function blind(trouble: LockstepError): LockstepError {
  const message = `this replica cannot tell who leads (${trouble.reason}): ${trouble.message}`;
  return noLeader(message, { ...trouble.metadata, trouble: trouble.reason }, trouble);
}

/** The options of the forwarded call: the caller's signal, identity, and what is left of its deadline. */
function forwardedOptions(context: CallContext, clock: Clock): LimitedCallOptions {
  const { name, deadlineAtMs } = callerOf(context);
  const metadata = Metadata().set(FORWARDED_KEY, name);
  const options = { metadata, signal: context.signal };
  return deadlineAtMs === undefined ? options : { ...options, deadlineMs: deadlineAtMs - clock.nowMs() };
}

/**
 * The leader vanished while it was asked. A method that may be repeated is as if nobody led; of any other nobody can say
 * whether it was done.
 */
function leaderLost(error: unknown, address: string, { name, options }: MethodInfo): unknown {
  if (!(error instanceof LockstepError) || error.reason !== 'NODE_UNREACHABLE') return error;
  // The leader's own word about a node carries that node's address.
  if (error.metadata['address'] !== address) return error;
  if (options.idempotencyLevel !== undefined) {
    return noLeader(`the leader at ${address} does not answer`, { address }, error);
  }
  const message = `the leader at ${address} went away during ${name}; look whether it was done before repeating it`;
  return new LockstepError('OUTCOME_UNKNOWN', message, { address }, { cause: error });
}

/**
 * An implementation that answers where this replica leads and forwards to the leader elsewhere, with the caller's
 * deadline, signal and identity. A call is forwarded once: where it meets a replica that does not lead either, the
 * answer is NOT_LEADER. Without a leader it is NO_LEADER.
 */
export function forwardToLeader<D extends ServiceInfo>(
  definition: D,
  implementation: ServiceImplementation<D>,
  { clock, local = [], leader, client }: ForwardOptions<D>,
): ServiceImplementation<D> {
  const own = implementation as unknown as Readonly<Record<string, (request: unknown, context: CallContext) => never>>;
  const ownMethod = (method: string) => {
    const call = own[method];
    if (call === undefined) throw new Error(`no implementation of ${method}`);
    return call.bind(implementation);
  };

  /** The leader's address; undefined where this replica shall answer. */
  function elsewhere(method: string, context: CallContext): string | undefined {
    if (local.includes(method)) return undefined;
    const location = leader();
    if (location?.self === true) return undefined;
    if (callerOf(context).forwardedFor !== undefined) {
      throw new LockstepError('NOT_LEADER', 'this replica does not lead any more; ask again');
    }
    if (location === undefined) throw noLeader('nobody leads right now; an election takes a few seconds');
    if (location.address === undefined) throw blind(location.trouble);
    return location.address;
  }

  const at = (address: string): UntypedClient => client(address);

  return mapMethods(definition, {
    unary: (method, info) => {
      const answer = ownMethod(method) as (request: unknown, context: CallContext) => Promise<unknown>;
      return async (request, context: CallContext) => {
        const address = elsewhere(method, context);
        if (address === undefined) return await answer(request, context);
        try {
          return await unaryOf(at(address), method)(request, forwardedOptions(context, clock));
        } catch (error) {
          throw leaderLost(error, address, info);
        }
      };
    },
    stream: (method, info) => {
      const answer = ownMethod(method) as (request: unknown, context: CallContext) => AsyncIterable<unknown>;
      return async function* (request, context: CallContext) {
        const address = elsewhere(method, context);
        if (address === undefined) {
          yield* answer(request, context);
          return;
        }
        try {
          yield* streamOf(at(address), method)(request, forwardedOptions(context, clock));
        } catch (error) {
          throw leaderLost(error, address, info);
        }
      };
    },
  }) as ServiceImplementation<D>;
}
