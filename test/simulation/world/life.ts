// SPDX-License-Identifier: Apache-2.0
import type { Clock, Timer } from '@lockstep/services/platform/clock/clock.js';

/** How a process ended: killed, its kernel closing its sockets; or with its host's power, and nobody is told. */
export type Death = 'killed' | 'power';

/**
 * One life of a process: everything that reaches its code goes through `turn`. While it stands still (SIGSTOP) that is
 * put off, and after its death nothing reaches it any more: its calls never settle and have no effect.
 */
export class Life {
  readonly clock: Clock;
  #state: 'running' | 'paused' | 'dead' = 'running';
  #backlog: (() => void)[] = [];
  readonly #onDeath = new Set<(death: Death) => void>();

  constructor(
    /** E.g. `n1#3`: the third life of the agent of n1. */
    readonly name: string,
    /** The machine it runs on, by the network's name. */
    readonly site: string,
    clock: Clock,
    /** How its machine's clocks go: 1.0001 is 100 ppm fast. */
    { rate, wallSkewMs }: { rate: number; wallSkewMs: () => number },
  ) {
    const bornMs = clock.nowMs();
    const nowMs = (): number => 1_000 + (clock.nowMs() - bornMs) * rate;
    this.clock = {
      nowMs,
      wallTime: () => new Date(clock.wallTime().getTime() + wallSkewMs()),
      after: (delayMs, fire) => this.#after(clock, delayMs / rate, fire),
    };
  }

  get dead(): boolean {
    return this.#state === 'dead';
  }

  get paused(): boolean {
    return this.#state === 'paused';
  }

  /** Lets something happen in this process: now, once it goes on, or never. */
  turn(work: () => void): void {
    if (this.#state === 'running') work();
    else if (this.#state === 'paused') this.#backlog.push(work);
  }

  /** A call out of this process. Its answer comes as a turn; after the death neither call nor answer happens. */
  call<T>(work: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.turn(() => {
        work().then(
          (value) => {
            this.turn(() => {
              resolve(value);
            });
          },
          (error: unknown) => {
            this.turn(() => {
              reject(error instanceof Error ? error : new Error(String(error)));
            });
          },
        );
      });
    });
  }

  /** An object of the world as this process sees it: every method that answers later goes through `call`. */
  mortal<T extends object>(target: T): T {
    return withMethods(target, (method, object) => (...args: unknown[]): unknown => {
      if (this.dead) return new Promise(() => undefined);
      const result: unknown = Reflect.apply(method, object, args);
      if (result instanceof Promise) return this.#answered(result);
      return isIterable(result) ? this.#iterated(result) : result;
    });
  }

  /** Returns how to leave. */
  onDeath(listener: (death: Death) => void): () => void {
    this.#onDeath.add(listener);
    return () => this.#onDeath.delete(listener);
  }

  pause(): void {
    if (this.#state === 'running') this.#state = 'paused';
  }

  goOn(): void {
    if (this.#state !== 'paused') return;
    this.#state = 'running';
    const backlog = this.#backlog;
    this.#backlog = [];
    for (const work of backlog) this.turn(work);
  }

  end(death: Death): void {
    if (this.#state === 'dead') return;
    this.#state = 'dead';
    this.#backlog = [];
    for (const listener of this.#onDeath) listener(death);
    this.#onDeath.clear();
  }

  #after(clock: Clock, delayMs: number, fire: () => void): Timer {
    if (this.dead) return { stop: () => undefined };
    let stopped = false;
    const timer = clock.after(delayMs, () => {
      this.turn(() => {
        if (!stopped) fire();
      });
    });
    return {
      stop: () => {
        stopped = true;
        timer.stop();
      },
    };
  }

  /** What was asked already is answered as a turn, too. */
  #answered(asked: Promise<unknown>): Promise<unknown> {
    return new Promise<unknown>((resolve, reject) => {
      asked.then(
        (answer) => {
          this.turn(() => {
            resolve(this.#wrapped(answer));
          });
        },
        (error: unknown) => {
          this.turn(() => {
            reject(error instanceof Error ? error : new Error(String(error)));
          });
        },
      );
    });
  }

  /** Handles that a call yields, e.g. of a migration, are part of the world too. */
  #wrapped<V>(answer: V): V {
    const isHandle = typeof answer === 'object' && answer !== null && 'close' in answer;
    return isHandle ? this.mortal(answer) : answer;
  }

  #iterated(stream: AsyncIterable<unknown, unknown>): AsyncIterable<unknown> {
    const iterator: AsyncIterator<unknown, unknown> = stream[Symbol.asyncIterator]();
    return {
      [Symbol.asyncIterator]: () => ({
        next: () => this.call(() => iterator.next()),
        return: () => this.call<IteratorResult<unknown, unknown>>(async () => (await iterator.return?.()) ?? { done: true, value: undefined }),
      }),
    };
  }
}

/** An object whose methods are others, each made once, when it is first asked for. */
export function withMethods<T extends object>(
  target: T,
  make: (method: (...args: unknown[]) => unknown, object: T, name: string) => unknown,
): T {
  const made = new Map<string | symbol, unknown>();
  return new Proxy(target, {
    get: (object, property) => {
      const known = made.get(property);
      if (known !== undefined) return known;
      const value: unknown = Reflect.get(object, property);
      if (typeof value !== 'function') return value;
      const method = make(value as (...args: unknown[]) => unknown, object, String(property));
      made.set(property, method);
      return method;
    },
  });
}

function isIterable(value: unknown): value is AsyncIterable<unknown> {
  return typeof value === 'object' && value !== null && Symbol.asyncIterator in value;
}
