// SPDX-License-Identifier: Apache-2.0
import { type CallOptions, connect, type Connection } from '@lockstep/node-libvirt';
import { type Clock, DeadlineExceeded, sleep, withDeadline } from '../clock/clock.js';
import { type CallLimit, HypervisorError } from './hypervisor.js';
import { translate } from './libvirt-errors.js';

/** Where libvirt is. */
export interface LibvirtAddress {
  /** E.g. `/run/libvirt/virtqemud-sock`. */
  socketPath: string;
  /** E.g. `qemu:///system`. */
  uri: string;
}

/** Between two attempts to connect; doubled after each that fails. */
const RETRY = { leastMs: 100, mostMs: 5_000 };
const CONNECT_LIMIT_MS = 5_000;
/** A daemon that gives no sign of life for 3 × 2 s is down. */
const KEEPALIVE = { keepaliveIntervalMs: 2_000, keepaliveCount: 3 };

/** Opens one connection. Fails with `down`, or `refused` where libvirt does not let us in. */
export async function openConnection(address: LibvirtAddress, signal?: AbortSignal): Promise<Connection> {
  try {
    return await connect({
      ...address,
      ...KEEPALIVE,
      connectTimeoutMs: CONNECT_LIMIT_MS,
      ...(signal === undefined ? {} : { signal }),
    });
  } catch (error) {
    const translated = translate(error);
    if (!(translated instanceof HypervisorError) || translated.kind === 'refused') throw translated;
    throw new HypervisorError('down', translated.message, { cause: error });
  }
}

/** The client's options for a call with this limit. */
export function optionsOf(limit: CallLimit): CallOptions {
  const deadlineMs = Math.max(1, Math.ceil(limit.deadlineMs));
  return limit.signal === undefined ? { deadlineMs } : { deadlineMs, signal: limit.signal };
}

/** One open connection, and how many calls use it. */
interface Line {
  readonly connection: Connection;
  users: number;
  /** Another one has taken its place; it closes when nobody uses it any more. */
  retired: boolean;
}

/**
 * A connection that is always there, or known to be down. It reconnects by itself. Where too many calls were given up
 * on a connection (libvirtd would stop reading it) another takes its place, and those still in use of the old one
 * end in peace.
 */
export class LibvirtLink {
  readonly #clock: Clock;
  readonly #address: LibvirtAddress;
  /** So many calls may be without an answer that nobody waits for any more. */
  readonly #mostAbandoned: number;
  readonly #onConnected: (connection: Connection) => Promise<void>;
  readonly #closing = new AbortController();
  #line: Line | undefined;
  /** The last attempt to connect, under way or over. */
  #attempt: Promise<void>;
  /** Why the last attempt failed; undefined while one is under way that may succeed. */
  #failure: Error | undefined;
  readonly #loop: Promise<void>;
  #wake: () => void = () => undefined;

  constructor(input: {
    clock: Clock;
    address: LibvirtAddress;
    mostAbandoned: number;
    /** Before the connection is used; where it fails, so does the connection. */
    onConnected?: (connection: Connection) => Promise<void>;
  }) {
    this.#clock = input.clock;
    this.#address = input.address;
    this.#mostAbandoned = input.mostAbandoned;
    this.#onConnected = input.onConnected ?? (() => Promise.resolve());
    this.#attempt = this.#connectOnce();
    this.#loop = this.#keepConnected();
  }

  /** Runs `work` with a connection. While there is none, and the last attempt to get one failed: `down`, at once. */
  async run<T>(what: string, limit: CallLimit, work: (connection: Connection, options: CallOptions) => Promise<T>): Promise<T> {
    const startMs = this.#clock.nowMs();
    const line = await this.#usable(what, limit);
    const deadlineMs = limit.deadlineMs - (this.#clock.nowMs() - startMs);
    line.users += 1;
    try {
      return await work(line.connection, optionsOf({ ...limit, deadlineMs }));
    } catch (error) {
      throw translate(error);
    } finally {
      line.users -= 1;
      this.#retireIfStuck(line);
      this.#closeIfUnused(line);
    }
  }

  async close(): Promise<void> {
    this.#closing.abort(new Error('the hypervisor was closed'));
    this.#wake();
    await this.#line?.connection.close();
    await this.#loop;
  }

  async #usable(what: string, limit: CallLimit): Promise<Line> {
    if (this.#line === undefined && this.#failure === undefined) {
      const waited = withDeadline(this.#clock, { what, limitMs: limit.deadlineMs, signal: limit.signal }, () => this.#attempt);
      await waited.catch((error: unknown) => {
        if (error instanceof DeadlineExceeded) throw new HypervisorError('deadline', `${what}: still connecting to libvirt`);
        throw error;
      });
    }
    if (this.#line !== undefined) return this.#line;
    throw new HypervisorError('down', `${what}: ${this.#failure?.message ?? 'not connected to libvirt'}`, {
      cause: this.#failure,
    });
  }

  async #keepConnected(): Promise<void> {
    let retryMs = RETRY.leastMs;
    for (;;) {
      await this.#attempt;
      if (this.#closing.signal.aborted) return;
      if (this.#line === undefined) {
        await sleep(this.#clock, retryMs, this.#closing.signal).catch(() => undefined);
        retryMs = Math.min(retryMs * 2, RETRY.mostMs);
        this.#attempt = this.#connectOnce();
      } else {
        retryMs = RETRY.leastMs;
        await this.#untilLost(this.#line);
      }
    }
  }

  async #connectOnce(): Promise<void> {
    try {
      const connection = await openConnection(this.#address, this.#closing.signal);
      try {
        await this.#onConnected(connection);
      } catch (error) {
        await connection.close();
        throw error;
      }
      if (this.#closing.signal.aborted) await connection.close();
      else this.#line = { connection, users: 0, retired: false };
      this.#failure = undefined;
    } catch (error) {
      this.#failure = error instanceof Error ? error : new Error(String(error));
    }
  }

  /** Waits until the line is closed or retired; a new attempt is under way then. */
  #untilLost(line: Line): Promise<void> {
    return new Promise((resolve) => {
      const { closed } = line.connection;
      const done = (): void => {
        closed.removeEventListener('abort', done);
        this.#wake = () => undefined;
        this.#line = undefined;
        this.#attempt = this.#connectOnce();
        resolve();
      };
      this.#wake = done;
      closed.addEventListener('abort', done, { once: true });
      if (closed.aborted) done();
    });
  }

  #retireIfStuck(line: Line): void {
    if (line.retired || line.connection.load.abandoned < this.#mostAbandoned) return;
    line.retired = true;
    if (this.#line === line) this.#wake();
  }

  #closeIfUnused(line: Line): void {
    if (line.retired && line.users === 0) void line.connection.close();
  }
}
