// SPDX-License-Identifier: Apache-2.0
import type { CallLoad, CallOptions } from './calls.js';
import { Domains } from './domains.js';
import { LibvirtClosedError, LibvirtProtocolError } from './errors.js';
import { Events } from './events.js';
import { Host } from './host.js';
import { Jobs } from './jobs.js';
import { Migration } from './migration.js';
import { procedures } from './procedures.js';
import { RpcClient } from './rpc-client.js';
import { openSocket } from './socket.js';

export interface ConnectOptions {
  /** libvirtd's or virtqemud's socket for reading and writing. */
  readonly socketPath?: string;
  /** The driver to open, e.g. `qemu:///system` or `test:///default`. */
  readonly uri?: string;
  /** For the socket, authentication and opening together. */
  readonly connectTimeoutMs?: number;
  /** For every call that does not say otherwise. */
  readonly callDeadlineMs?: number;
  /** After so long without a sign of life the server is asked for one; 0 never asks. */
  readonly keepaliveIntervalMs?: number;
  /** After so many unanswered questions the connection ends, with the reason `keepalive`. */
  readonly keepaliveCount?: number;
  /** Gives up connecting; once connected it has no effect. */
  readonly signal?: AbortSignal;
}

const AUTH = { none: 0, polkit: 2 } as const;
const FEATURE_PROGRAM_KEEPALIVE = 10;
const GOODBYE_MS = 1_000;

/**
 * Connects and opens a driver. Reconnecting is the caller's: everything known from events must be read anew then.
 * @throws LibvirtConnectError, LibvirtDeadlineError, LibvirtAbortedError, LibvirtClosedError, LibvirtProtocolError,
 *   or a LibvirtError if libvirt refuses the driver.
 */
export async function connect(options: ConnectOptions = {}): Promise<Connection> {
  const {
    socketPath = '/run/libvirt/libvirt-sock',
    uri = 'qemu:///system',
    connectTimeoutMs = 5_000,
    callDeadlineMs = 30_000,
    keepaliveIntervalMs = 5_000,
    keepaliveCount = 3,
    signal,
  } = options;
  const until = performance.now() + connectTimeoutMs;
  const socket = await openSocket(socketPath, connectTimeoutMs, signal);
  const rpc = new RpcClient(socket, callDeadlineMs);
  try {
    const serverKeepalive = await open(rpc, uri, () => ({
      deadlineMs: Math.max(1, Math.ceil(until - performance.now())),
      ...(signal === undefined ? {} : { signal }),
    }));
    if (serverKeepalive && keepaliveIntervalMs > 0) rpc.startKeepalive(keepaliveIntervalMs, keepaliveCount);
    return new Connection(rpc);
  } catch (error) {
    rpc.end('local', 'opening failed');
    throw error;
  }
}

/** In the order of libvirt's own client. Asking for the keepalive feature is what makes the server use it. */
async function open(rpc: RpcClient, uri: string, limits: () => CallOptions): Promise<boolean> {
  const { types } = await rpc.call(procedures.authList, undefined, limits());
  if (types.includes(AUTH.polkit) && !types.includes(AUTH.none)) {
    await rpc.call(procedures.authPolkit, undefined, limits());
  } else if (types.length > 0 && !types.includes(AUTH.none)) {
    throw new LibvirtProtocolError(
      'libvirt asks for SASL; set auth_unix_rw to "none" or "polkit", with the permissions of its socket',
    );
  }
  const feature = { feature: FEATURE_PROGRAM_KEEPALIVE };
  const { supported } = await rpc.call(procedures.connectSupportsFeature, feature, limits());
  await rpc.call(procedures.connectOpen, { name: uri, flags: 0 }, limits());
  return supported;
}

/** An open connection. Calls on it run at most four at a time; further ones wait in turn, under their deadlines. */
export class Connection {
  readonly #rpc: RpcClient;
  readonly domains: Domains;
  readonly host: Host;
  readonly jobs: Jobs;
  readonly migration: Migration;
  readonly events: Events;

  /** Made by `connect`. */
  constructor(rpc: RpcClient) {
    this.#rpc = rpc;
    this.domains = new Domains(rpc);
    this.host = new Host(rpc);
    this.jobs = new Jobs(rpc);
    this.migration = new Migration(rpc);
    this.events = new Events(rpc);
  }

  /** Fires once, when the connection ends for whatever reason; see `closeError`. */
  get closed(): AbortSignal {
    return this.#rpc.closed;
  }

  /** Why the connection ended; undefined while it is open. */
  get closeError(): LibvirtClosedError | undefined {
    const reason: unknown = this.#rpc.closed.reason;
    return reason instanceof LibvirtClosedError ? reason : undefined;
  }

  /** When all four slots are taken by abandoned calls, only a new connection helps. */
  get load(): CallLoad {
    return this.#rpc.load;
  }

  /** Ends the connection: what still waits fails with a `LibvirtClosedError`. An idle one takes its leave first. */
  async close(): Promise<void> {
    if (this.closed.aborted) return;
    if (this.load.inFlight === 0) {
      await this.#rpc.call(procedures.connectClose, undefined, { deadlineMs: GOODBYE_MS }).catch(() => undefined);
    }
    this.#rpc.end('local', 'the connection was closed by its user');
  }
}
