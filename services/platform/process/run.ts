// SPDX-License-Identifier: Apache-2.0
import { readPem, type TlsFiles } from '@lockstep/sdk/transport';
import { z } from 'zod';
import { systemClock } from '../clock/system.js';
import { configPath, ConfigError, loadConfig, readSecret } from '../config/load.js';
import {
  addressSchema,
  consulSchema,
  insecureSchema,
  listenSchema,
  metricsListenSchema,
  tlsSchema,
} from '../config/schemas.js';
import type { Env } from '../env.js';
import { createLogger, type RootLogger } from '../log/pino.js';
import { createPrometheusMetrics } from '../metrics/prometheus.js';
import { systemRandom } from '../random/system.js';
import { createPeers } from '../rpc/peers-grpc.js';
import { serve, type RpcServer, type ServedService } from '../rpc/server.js';
import { createConsulStore } from '../store/consul.js';
import type { ConsulTls } from '../store/consul-http.js';
import { measuredStore } from '../store/measured.js';
import { monitor } from './monitoring.js';
import { createNotifier } from './notify.js';
import { noPoints, pointsOf } from './points.js';

/** The keys that every service's configuration has. */
export const commonKeys = {
  /** This host's name: the same as Consul's node. */
  node: z.string().min(1).max(63),
  listen: listenSchema,
  /** Where the others reach it; where it listens unless told. */
  advertise: addressSchema.optional(),
  /** Where `/metrics`, `/livez` and `/readyz` are; ten ports above `listen` unless told. */
  metrics_listen: metricsListenSchema.optional(),
  consul: consulSchema.default({ address: '127.0.0.1:8500', tokenFile: undefined, tls: undefined }),
  tls: tlsSchema.optional(),
  insecure: insecureSchema.optional(),
  log: z.strictObject({ pretty: z.boolean().optional(), debug: z.boolean().default(false) }).default({ debug: false }),
};

/** What the common keys come out as. */
export type CommonConfig = z.output<z.ZodObject<typeof commonKeys>>;

/** A service that was put together and waits for calls. */
export interface RunningService {
  services: readonly ServedService[];
  /** Further addresses, host:port, at which the same is served. */
  alsoListen?: readonly string[];
  /** Begins its work, once it can be called; `address` is where the others reach it. */
  start(address: string): void;
  /** Why it cannot do its work now, e.g. that nobody leads; empty where it can. */
  notReady(): string;
  /** Why it does not live as it should, although this can be asked; empty where it does. Always lives unless told. */
  notLive?(): string;
  /** Whether this replica leads; absent where there are no leaders. */
  leads?(): boolean;
  /** Told first that the process is to end, while it is still served. */
  leave?(): Promise<void>;
  /** Ends in order: no running VM is touched. */
  close(): Promise<void>;
}

/** How one of the services is put together from its configuration and the real parts of the world. */
export interface ServiceProcess<S extends z.ZodType<CommonConfig>> {
  name: 'node-agent' | 'scheduler' | 'fencer';
  schema: S;
  build(env: Env, config: z.output<S>, log: RootLogger): Promise<RunningService>;
}

const USAGE_EXIT = 2;
/** Names the folder by which a test has a service stand still at named points. */
const POINTS_VARIABLE = 'LOCKSTEP_TEST_POINTS';

/**
 * The life of a service's process: configuration, real parts, serving, and an orderly end at SIGTERM or SIGINT. SIGUSR1
 * switches debug lines on and off. A configuration that is wrong ends it with status 2 and one line that says where.
 */
export async function runService<S extends z.ZodType<CommonConfig>>(service: ServiceProcess<S>): Promise<void> {
  const config = await configOf(service);
  const log = createLogger({ name: service.name, ...config.log });
  let debug = config.log.debug;
  process.on('SIGUSR1', () => {
    debug = !debug;
    log.setDebug(debug);
  });
  const notifier = createNotifier({ clock: systemClock, log, pid: process.pid }, process.env);
  const metrics = createPrometheusMetrics({ log: log.child('metrics'), ofProcess: true });
  const peers = createPeers({ clock: systemClock, tls: config.tls });
  const env: Env = {
    clock: systemClock,
    random: systemRandom,
    store: measuredStore(await storeOf(config, log), metrics, systemClock),
    log,
    peers,
    points: pointsFor(service.name, config, log),
    metrics,
  };
  const running = await service.build(env, config, log);
  const { services, alsoListen = [] } = running;
  const listening = (listen: string): Promise<RpcServer> =>
    serve({ listen, services, log, tls: config.tls, insecure: config.insecure });
  const server = await listening(config.listen);
  const further = await Promise.all(alsoListen.map(listening));
  log.log('s', `${service.name} of ${config.node} listens at ${server.address}`);
  running.start(config.advertise ?? server.address);
  const { name } = service;
  const monitoring = await monitor({ name, config, running, metrics, notifier, log, address: server.address });
  notifier.ready();
  await stopSignal();
  log.info('stops');
  const told = notifier.stopping();
  await running.leave?.();
  await Promise.all([server, ...further].map((each) => each.close()));
  await running.close();
  await monitoring.close();
  await told;
  peers.close();
}

/**
 * Standing still at named points is for tests of the whole: whoever can write to the folder can hold a migration up, so
 * a service that is set up as for production (with TLS) refuses to begin with it.
 */
function pointsFor(name: string, { node, tls }: CommonConfig, log: RootLogger): Env['points'] {
  const folder = process.env[POINTS_VARIABLE];
  if (folder === undefined) return noPoints;
  if (tls !== undefined) {
    process.stderr.write(`${POINTS_VARIABLE} is set, which is for tests only: a service with tls refuses it\n`);
    process.exit(USAGE_EXIT);
  }
  log.warn(`stands still at named points as files in ${folder} ask for it: this is a test`);
  return pointsOf({ folder, process: `${name}.${node}` });
}

/** Where the others reach this service. */
export function addressOf({ advertise, listen }: CommonConfig): string {
  return advertise ?? listen;
}

async function configOf<S extends z.ZodType<CommonConfig>>({ name, schema }: ServiceProcess<S>): Promise<z.output<S>> {
  try {
    return await loadConfig(configPath(process.argv.slice(2), `/etc/lockstep/${name}.yaml`), schema);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`${error.message}\n`);
    process.exit(USAGE_EXIT);
  }
}

async function storeOf({ consul, node }: CommonConfig, log: RootLogger): Promise<Env['store']> {
  const scheme = consul.tls === undefined ? 'http' : 'https';
  return createConsulStore({
    address: `${scheme}://${consul.address}`,
    token: consul.tokenFile === undefined ? undefined : await readSecret(consul.tokenFile),
    tls: consul.tls === undefined ? undefined : consulTls(consul.tls),
    nodeName: node,
    clock: systemClock,
    random: systemRandom,
    log: log.child('store'),
  });
}

function consulTls({ caFile, certFile, keyFile }: TlsFiles): ConsulTls {
  const pem = (name: keyof TlsFiles, file: string): string => readPem(name, file).toString();
  return { ca: pem('caFile', caFile), cert: pem('certFile', certFile), key: pem('keyFile', keyFile) };
}

function stopSignal(): Promise<void> {
  return new Promise((resolve) => {
    for (const signal of ['SIGTERM', 'SIGINT'] as const) process.once(signal, () => { resolve(); });
  });
}
