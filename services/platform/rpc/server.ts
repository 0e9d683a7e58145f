// SPDX-License-Identifier: Apache-2.0
import { ServerCredentials } from '@grpc/grpc-js';
import { KEEPALIVE_OPTIONS, MAX_MESSAGE_BYTES, readPem, type TlsFiles } from '@lockstep/sdk/transport';
import { createServer, type Server } from 'nice-grpc';
import { errorDetailsServerMiddleware } from 'nice-grpc-error-details';
import { HealthDefinition, HealthServiceImpl, HealthState } from 'nice-grpc-server-health';
import { heardByMany } from '../clock/heard-by-many.js';
import { withDeadline } from '../clock/clock.js';
import { systemClock } from '../clock/system.js';
import type { Logger } from '../log/log.js';
import { type InsecureAccess, plainTextGuard } from './access.js';
import { callerInterceptor } from './caller.js';
import type { ServedService } from './implement.js';
import { errorMiddleware, guardMiddleware, logMiddleware, stopMiddleware } from './middleware.js';
import { addReflection } from './reflection.js';

export { implement, service, type ServedService } from './implement.js';

/** How long {@link RpcServer.close} waits for calls that run, unless told. */
const CLOSE_GRACE_MS = 5_000;

/** Calls at a time on one connection; a leader forwards for many callers over one. */
const MAX_STREAMS_PER_CONNECTION = 4_096;

/** What to serve, where, and to whom. */
export interface ServeOptions {
  /** host:port; port 0 takes a free one. */
  listen: string;
  services: readonly ServedService[];
  log: Logger;
  /** With it: TLS only, and every client must present a certificate of this CA. Without: plain text. */
  tls?: TlsFiles | undefined;
  /** Where plain text is accepted from beside loopback. Nowhere unless told. */
  insecure?: InsecureAccess | undefined;
  /** Largest message taken, in bytes; 4 MiB unless told. */
  maxMessageBytes?: number | undefined;
  /** Overrides of gRPC's server options, e.g. a shorter keepalive. */
  options?: Readonly<Record<string, string | number>> | undefined;
  /** Aborting it closes the server. */
  signal?: AbortSignal | undefined;
}

/** A server that listens. */
export interface RpcServer {
  /** host:port, with the port that was taken. */
  readonly address: string;
  /** What gRPC health says of one service by its full name, or of the whole server by ''. SERVING from the start. */
  setServing(service: string, serving: boolean): void;
  /**
   * Stops: health says NOT_SERVING, streams end with STOPPING, calls that run may finish within `graceMs` (5,000) and
   * are cut off then. Repeated calls wait for the same stop.
   */
  close(graceMs?: number): Promise<void>;
}

function credentialsOf(tls: TlsFiles | undefined): ServerCredentials {
  if (tls === undefined) return ServerCredentials.createInsecure();
  const pair = { cert_chain: readPem('certFile', tls.certFile), private_key: readPem('keyFile', tls.keyFile) };
  return ServerCredentials.createSsl(readPem('caFile', tls.caFile), [pair], true);
}

function serverOptions({ maxMessageBytes = MAX_MESSAGE_BYTES, options }: ServeOptions): Record<string, unknown> {
  return {
    ...KEEPALIVE_OPTIONS,
    'grpc.max_receive_message_length': maxMessageBytes,
    'grpc.max_send_message_length': MAX_MESSAGE_BYTES,
    // A second process on the same port is a mistake, not a way to share load.
    'grpc.so_reuseport': 0,
    'grpc.max_concurrent_streams': MAX_STREAMS_PER_CONNECTION,
    interceptors: [callerInterceptor],
    ...options,
  };
}

/** The middleware of every call, in the order in which a call passes. */
function createGuardedServer(serve: ServeOptions, stopping: AbortSignal): Server {
  const guard = serve.tls === undefined ? plainTextGuard(serve.insecure ?? { allowCidrs: [] }) : () => undefined;
  return createServer(serverOptions(serve))
    .use(errorDetailsServerMiddleware)
    .use(errorMiddleware(serve.log))
    .use(guardMiddleware(guard))
    .use(stopMiddleware(stopping))
    .use(logMiddleware(serve.log));
}

function healthOf(services: readonly ServedService[]): HealthState {
  const health = HealthState();
  health.setMaxListeners(0); // one listener per watcher
  for (const { fullName } of services) health.setStatus('healthy', fullName);
  return health;
}

/**
 * Serves gRPC services with health, reflection, rich errors, keepalive and bounded messages. Rejects where the address
 * cannot be taken or a TLS file cannot be read.
 */
export async function serve(options: ServeOptions): Promise<RpcServer> {
  const { listen, services, log, tls, signal } = options;
  const stopping = new AbortController();
  heardByMany(stopping.signal);
  const health = healthOf(services);
  const names = services.map(({ fullName }) => fullName);

  const server = createGuardedServer(options, stopping.signal);
  for (const service of services) service.addTo(server);
  server.add(HealthDefinition, HealthServiceImpl(health));
  addReflection(server, names);
  const port = await server.listen(listen, credentialsOf(tls)).catch((error: unknown) => {
    throw new Error(`cannot listen on ${listen}: ${error instanceof Error ? error.message : String(error)}`);
  });
  const address = `${listen.slice(0, listen.lastIndexOf(':'))}:${String(port)}`;
  log.log('s', `listening on ${address}`, { tls: tls !== undefined });

  const stop = async (graceMs: number): Promise<void> => {
    signal?.removeEventListener('abort', onAbort);
    for (const name of ['', ...names]) health.setStatus('unhealthy', name);
    stopping.abort();
    try {
      await withDeadline(systemClock, { what: 'close', limitMs: graceMs }, () => server.shutdown());
    } catch (error) {
      log.warn('calls were cut off', { error });
      server.forceShutdown();
    }
  };
  let stopped: Promise<void> | undefined;
  const close = (graceMs = CLOSE_GRACE_MS): Promise<void> => (stopped ??= stop(graceMs));
  const onAbort = (): void => {
    void close();
  };
  signal?.addEventListener('abort', onAbort, { once: true });
  if (signal?.aborted === true) onAbort();

  return {
    address,
    close,
    setServing: (service, serving) => {
      health.setStatus(serving ? 'healthy' : 'unhealthy', service);
    },
  };
}
