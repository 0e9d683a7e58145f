// SPDX-License-Identifier: Apache-2.0
import { connectivityState } from '@grpc/grpc-js';
import { type CallOptions, type Channel, type CompatServiceDefinition, createClientFactory } from 'nice-grpc';
import { ClientError, type ClientMiddleware, Status } from 'nice-grpc-common';
import { errorDetailsClientMiddleware } from 'nice-grpc-error-details';
import { type CallLimits, deadlineMiddleware, type StartTimer, startSystemTimer } from './deadline.js';

/** How long a unary call may take unless told, in milliseconds. */
export const UNARY_DEADLINE_MS = 10_000;

/** What the generated code says of one method. */
export interface MethodInfo {
  readonly name: string;
  readonly requestStream: boolean;
  readonly responseStream: boolean;
  readonly options: { readonly idempotencyLevel?: 'IDEMPOTENT' | 'NO_SIDE_EFFECTS' };
}

/** What the generated code says of a service. */
export type ServiceInfo = CompatServiceDefinition & {
  readonly name: string;
  readonly fullName: string;
  readonly methods: Readonly<Record<string, MethodInfo>>;
};

/** Options of a call as the clients here take them. */
export type LimitedCallOptions = CallOptions & CallLimits;

/** A unary method without its types: for code that treats all methods alike. */
export type UnaryCall = (request: unknown, options?: LimitedCallOptions) => Promise<unknown>;
/** A server-streaming method without its types. */
export type StreamCall = (request: unknown, options?: LimitedCallOptions) => AsyncIterable<unknown>;
/** A client without its types, by method name. */
export type UntypedClient = Readonly<Record<string, unknown>>;

/** Settings of {@link openClient}. */
export interface ClientSettings {
  startTimer?: StartTimer | undefined;
  unaryDeadlineMs?: number | undefined;
}

/** A call over a channel that was closed fails like any other that finds nobody; grpc-js throws a bare Error. */
function openOnly(channel: Channel): ClientMiddleware {
  return async function* whileOpen(call, options) {
    if (channel.getConnectivityState(false) === connectivityState.SHUTDOWN) {
      throw new ClientError(call.method.path, Status.UNAVAILABLE, 'the connection was closed');
    }
    return yield* call.next(call.request, options);
  };
}

/** A client of one service over an open channel, with deadlines and rich errors. */
export function openClient(
  definition: ServiceInfo,
  channel: Channel,
  { startTimer = startSystemTimer, unaryDeadlineMs = UNARY_DEADLINE_MS }: ClientSettings = {},
): UntypedClient {
  return createClientFactory()
    .use(deadlineMiddleware(startTimer, unaryDeadlineMs))
    .use(errorDetailsClientMiddleware)
    .use(openOnly(channel))
    .create<CompatServiceDefinition>(definition, channel);
}

/** How {@link mapMethods} makes the methods of one kind. */
export interface MethodMakers {
  unary(method: string, info: MethodInfo): (request: never, options: never) => Promise<unknown>;
  stream(method: string, info: MethodInfo): (request: never, options: never) => AsyncIterable<unknown>;
}

/** An object with every method of a service, made by kind. Its type is the caller's to say. */
export function mapMethods(definition: ServiceInfo, make: MethodMakers): object {
  const methods = Object.entries(definition.methods).map(([method, info]) => [
    method,
    info.responseStream ? make.stream(method, info) : make.unary(method, info),
  ]);
  return Object.fromEntries(methods) as object;
}

function methodOf(client: UntypedClient, method: string): unknown {
  const call = client[method];
  if (typeof call !== 'function') throw new Error(`no method ${method}`);
  return call;
}

/** The unary method of this name of an untyped client. */
export function unaryOf(client: UntypedClient, method: string): UnaryCall {
  return methodOf(client, method) as UnaryCall;
}

/** The server-streaming method of this name of an untyped client. */
export function streamOf(client: UntypedClient, method: string): StreamCall {
  return methodOf(client, method) as StreamCall;
}
