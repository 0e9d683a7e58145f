// SPDX-License-Identifier: Apache-2.0
import { spawn, type ChildProcess } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { mkdtemp, open, readFile, rm, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';

/** Where the set-up script unpacks Debian's package on machines whose own release has none. */
const CACHED_BINARY = '/var/cache/lockstep/consul/usr/bin/consul';
const START_LIMIT_MS = 30_000;

/** The Consul binary: $CONSUL_BIN, else one on the PATH, else the set-up script's. Throws, saying what to do. */
export function findConsul(): string {
  const named = process.env['CONSUL_BIN'];
  const onPath = (process.env['PATH'] ?? '').split(delimiter).map((folder) => join(folder, 'consul'));
  const candidates = named === undefined ? [...onPath, CACHED_BINARY] : [named];
  const found = candidates.find(isExecutable);
  if (found !== undefined) return found;
  throw new Error(
    named === undefined
      ? 'No Consul on this machine. Run the set-up script as root (npm test does), or install Consul 1.8 or later ' +
        'and put it on the PATH or name it in CONSUL_BIN.'
      : `CONSUL_BIN names ${named}, which cannot be run.`,
  );
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** A single Consul server of a test: on free loopback ports, its data in a folder of its own. */
export interface ConsulServer {
  /** `http://127.0.0.1:PORT` */
  readonly address: string;
  /** `https://127.0.0.1:PORT`, where certificates were given. */
  readonly secureAddress: string;
  /** The almighty token where access control is on. */
  readonly token: string | undefined;
  /** Dies at once, as in a crash; the data stays. */
  kill(): Promise<void>;
  /** Comes back on the same ports with the same data; resolves once it leads. */
  restart(): Promise<void>;
  /** Ends the server and removes its folder. */
  dispose(): Promise<void>;
}

export interface ConsulServerOptions {
  /** Access control with default deny. */
  acl?: boolean;
  /** HTTPS beside HTTP, for clients with a certificate of this authority only. */
  tls?: { caFile: string; certFile: string; keyFile: string };
}

/** Starts a server that allows session TTLs from 2 s. */
export async function startConsul({ acl = false, tls }: ConsulServerOptions = {}): Promise<ConsulServer> {
  const binary = findConsul();
  const folder = await mkdtemp(join(tmpdir(), 'lockstep-consul-'));
  const [httpPort, serverPort, serfPort, httpsPort] = await freePorts(4);
  const token = acl ? '11111111-2222-3333-4444-555555555555' : undefined;
  const config = {
    server: true,
    bootstrap: true,
    node_name: 'contract',
    data_dir: join(folder, 'data'),
    bind_addr: '127.0.0.1',
    client_addr: '127.0.0.1',
    ports: {
      http: httpPort,
      https: tls === undefined ? -1 : httpsPort,
      server: serverPort,
      serf_lan: serfPort,
      serf_wan: -1,
      dns: -1,
      grpc: -1,
    },
    performance: { raft_multiplier: 1 },
    session_ttl_min: '2s',
    connect: { enabled: false },
    disable_update_check: true,
    log_level: 'warn',
    ...(token === undefined ? {} : { acl: { enabled: true, default_policy: 'deny', tokens: { master: token } } }),
    ...(tls === undefined
      ? {}
      : { ca_file: tls.caFile, cert_file: tls.certFile, key_file: tls.keyFile, verify_incoming_https: true }),
  };
  const configFile = join(folder, 'consul.json');
  const logFile = join(folder, 'log');
  await writeFile(configFile, JSON.stringify(config));
  const address = `http://127.0.0.1:${String(httpPort)}`;

  let child: ChildProcess | undefined;
  const start = async (): Promise<void> => {
    const log = await open(logFile, 'a');
    child = spawn(binary, ['agent', '-config-file', configFile], { stdio: ['ignore', log.fd, log.fd] });
    await log.close();
    await untilLeading(address, token, child, logFile);
  };
  const killNow = (): void => {
    child?.kill('SIGKILL');
  };
  process.once('exit', killNow);
  const kill = async (): Promise<void> => {
    const dying = child;
    child = undefined;
    if (dying?.exitCode !== null || dying.signalCode !== null) return;
    const gone = new Promise((resolve) => dying.once('exit', resolve));
    dying.kill('SIGKILL');
    await gone;
  };
  const dispose = async (): Promise<void> => {
    await kill();
    process.removeListener('exit', killNow);
    await rm(folder, { recursive: true, force: true });
  };
  try {
    await start();
  } catch (error) {
    await dispose();
    throw error;
  }
  const secureAddress = `https://127.0.0.1:${String(httpsPort)}`;
  return { address, secureAddress, token, kill, restart: start, dispose };
}

/** Ports nobody listens on; Consul cannot pick its own. */
async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
          const server = createServer();
          server.once('error', reject);
          server.listen(0, '127.0.0.1', () => {
            resolve(server);
          });
        }),
    ),
  );
  const ports = servers.map((server) => {
    const address = server.address();
    return address !== null && typeof address === 'object' ? address.port : 0;
  });
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

async function untilLeading(
  address: string,
  token: string | undefined,
  child: ChildProcess,
  logFile: string,
): Promise<void> {
  const headers: Record<string, string> = token === undefined ? {} : { 'x-consul-token': token };
  const giveUpAtMs = performance.now() + START_LIMIT_MS;
  for (;;) {
    try {
      const answer = await fetch(`${address}/v1/kv/ready`, { method: 'PUT', body: '', headers });
      if (answer.ok && (await answer.text()).trim() === 'true') return;
    } catch {
      // Not listening yet.
    }
    if (child.exitCode !== null || performance.now() > giveUpAtMs) {
      const log = await readFile(logFile, 'utf8').catch(() => '');
      throw new Error(`Consul did not come up (exit ${String(child.exitCode)}). Its log:\n${log.slice(-2_000)}`);
    }
    await delay(50);
  }
}
