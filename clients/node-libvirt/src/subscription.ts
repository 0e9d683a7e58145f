// SPDX-License-Identifier: Apache-2.0

/** Stands where events are missing: whoever keeps a picture of the domains must look at them again. */
export interface EventsLost {
  readonly kind: 'lost';
  readonly count: number;
}

interface Taker<E> {
  readonly resolve: (result: IteratorResult<E | EventsLost, undefined>) => void;
  readonly reject: (error: Error) => void;
}

const DONE = { done: true, value: undefined } as const;

/** Events in order, buffered up to a bound: a slow consumer loses events and hears of it, and never stops the rest. */
export class Subscription<E> implements AsyncIterableIterator<E | EventsLost, undefined> {
  readonly #bufferSize: number;
  readonly #onClose: () => Promise<void>;
  #buffer: (E | EventsLost)[] = [];
  #missed = 0;
  #takers: Taker<E>[] = [];
  #ended = false;
  #error: Error | undefined;

  /** Made by `events.subscribe`. */
  constructor(bufferSize: number, onClose: () => Promise<void>) {
    this.#bufferSize = bufferSize;
    this.#onClose = onClose;
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  next(): Promise<IteratorResult<E | EventsLost, undefined>> {
    const value = this.#buffer.shift() ?? this.#takeMissed();
    if (value !== undefined) return Promise.resolve({ done: false, value });
    if (this.#error !== undefined) return Promise.reject(this.#error);
    if (this.#ended) return Promise.resolve(DONE);
    return new Promise((resolve, reject) => { this.#takers.push({ resolve, reject }); });
  }

  /** Leaving a `for await` loop closes the subscription. */
  async return(): Promise<IteratorResult<E | EventsLost, undefined>> {
    await this.close();
    return DONE;
  }

  /** Ends the stream here at once, then at the server. What was buffered is dropped. */
  async close(): Promise<void> {
    if (this.#ended) return;
    this.#buffer = [];
    this.#missed = 0;
    this.end(undefined);
    await this.#onClose();
  }

  push(event: E): void {
    if (this.#ended) return;
    const taker = this.#takers.shift();
    if (taker !== undefined) {
      taker.resolve({ done: false, value: event });
    } else if (this.#buffer.length >= this.#bufferSize) {
      this.#missed += 1;
    } else {
      const lost = this.#takeMissed();
      if (lost !== undefined) this.#buffer.push(lost);
      this.#buffer.push(event);
    }
  }

  /** An event could not be read. */
  miss(): void {
    if (this.#ended) return;
    const taker = this.#takers.shift();
    if (taker === undefined) this.#missed += 1;
    else taker.resolve({ done: false, value: { kind: 'lost', count: 1 } });
  }

  /** No more events; with an error the consumer gets it after what is buffered. */
  end(error: Error | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    for (const taker of this.#takers) {
      if (error === undefined) taker.resolve(DONE);
      else taker.reject(error);
    }
    this.#takers = [];
  }

  #takeMissed(): EventsLost | undefined {
    if (this.#missed === 0) return undefined;
    const count = this.#missed;
    this.#missed = 0;
    return { kind: 'lost', count };
  }
}
