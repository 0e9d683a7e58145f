// SPDX-License-Identifier: Apache-2.0
import { type Clock, DeadlineExceeded, sleep, withDeadline } from '../clock/clock.js';
import type { Random } from '../random/random.js';
import { type CallLimit, HypervisorError } from './hypervisor.js';

/** How long a call takes to the daemon and back, each way half. */
export interface CallLatency {
  leastMs: number;
  mostMs: number;
}

const downError = (why: string): HypervisorError => new HypervisorError('down', `the simulated hypervisor ${why}`);

/** The hypervisor's own process on a simulated host: it can be killed, started again, and stand still. */
export class SimulatedDaemon {
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #latency: CallLatency;
  readonly #connections = new Set<SimulatedConnection>();
  #state: 'up' | 'hung' | 'down' = 'up';
  #waiting: (() => void)[] = [];

  constructor(input: { clock: Clock; random: Random; latency: CallLatency }) {
    this.#clock = input.clock;
    this.#random = input.random;
    this.#latency = input.latency;
  }

  get up(): boolean {
    return this.#state !== 'down';
  }

  /** Fails with `down` while the daemon does not run. `onClose` is what the daemon does when the client's end closes. */
  connect(onClose: (connection: SimulatedConnection) => void = () => undefined): SimulatedConnection {
    if (!this.up) throw downError('does not run');
    const connection = new SimulatedConnection(this, this.#clock, () => {
      this.#connections.delete(connection);
      // One that was killed never learns of it; one that hangs does so when it goes on.
      void this.able().then((able) => {
        if (able) onClose(connection);
      });
    });
    this.#connections.add(connection);
    return connection;
  }

  kill(): void {
    this.#state = 'down';
    for (const connection of [...this.#connections]) connection.lose('was killed');
    this.#connections.clear();
    this.#wake();
  }

  start(): void {
    this.#state = 'up';
    this.#wake();
  }

  /** Stands still: takes connections and calls, and answers none. */
  hang(): void {
    if (this.#state === 'up') this.#state = 'hung';
  }

  goOn(): void {
    if (this.#state === 'hung') this.#state = 'up';
    this.#wake();
  }

  /** Waits until it does anything; false: it was killed instead. */
  async able(): Promise<boolean> {
    while (this.#state === 'hung') {
      await new Promise<void>((resolve) => {
        this.#waiting.push(resolve);
      });
    }
    return this.#state === 'up';
  }

  /** One way between a client and the daemon. */
  travel(): Promise<void> {
    const { leastMs, mostMs } = this.#latency;
    return sleep(this.#clock, (leastMs + this.#random.next() * (mostMs - leastMs)) / 2);
  }

  #wake(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const wake of waiting) wake();
  }
}

/** A client's connection to the daemon. What was sent is done, even if nobody waits for the answer any more. */
export class SimulatedConnection {
  readonly #daemon: SimulatedDaemon;
  readonly #clock: Clock;
  readonly #onClose: () => void;
  readonly #lost = new AbortController();
  #closed = false;

  constructor(daemon: SimulatedDaemon, clock: Clock, onClose: () => void) {
    this.#daemon = daemon;
    this.#clock = clock;
    this.#onClose = onClose;
  }

  get lost(): AbortSignal {
    return this.#lost.signal;
  }

  /** The client closed it, as against a daemon that was killed. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Runs `work` in the daemon. Without a limit it waits as long as the connection lives. */
  async call<T>(what: string, limit: CallLimit | undefined, work: () => T | Promise<T>): Promise<T> {
    if (this.lost.aborted) throw downError('has closed this connection');
    const answer = this.#untilLost(async () => {
      await this.#daemon.travel();
      if (!(await this.#daemon.able())) throw downError('was killed');
      const result = await work();
      await this.#daemon.travel();
      return result;
    });
    if (limit === undefined) return answer;
    // Whoever has given up already waits for nothing: then nobody else hears how it ends.
    answer.catch(() => undefined);
    try {
      return await withDeadline(
        this.#clock,
        { what, limitMs: limit.deadlineMs, signal: limit.signal },
        () => answer,
      );
    } catch (error) {
      if (error instanceof DeadlineExceeded) throw new HypervisorError('deadline', error.message, { cause: error });
      throw error;
    }
  }

  /** The client closes its end. */
  close(): void {
    if (this.lost.aborted) return;
    this.#closed = true;
    this.lose('has closed this connection');
    this.#onClose();
  }

  /** The daemon's end is gone. */
  lose(why: string): void {
    if (!this.lost.aborted) this.#lost.abort(downError(why));
  }

  #untilLost<T>(work: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const onLost = (): void => {
        reject(downError('has closed this connection'));
      };
      this.lost.addEventListener('abort', onLost, { once: true });
      work()
        .then(resolve, reject)
        .finally(() => {
          this.lost.removeEventListener('abort', onLost);
        });
    });
  }
}
