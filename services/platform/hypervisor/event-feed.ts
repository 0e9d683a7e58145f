// SPDX-License-Identifier: Apache-2.0
import type { DomainEvent } from './hypervisor.js';

/** Events that a consumer has not taken yet; more than these are replaced by one `resync`. */
const MOST_WAITING = 256;

interface Subscriber {
  waiting: DomainEvent[];
  wake: () => void;
}

/** Hands every event to every consumer without ever waiting for one. */
export class EventFeed {
  readonly #subscribers = new Set<Subscriber>();

  emit(event: DomainEvent): void {
    for (const subscriber of this.#subscribers) {
      if (event.kind === 'resync' || subscriber.waiting.length >= MOST_WAITING) subscriber.waiting = [{ kind: 'resync' }];
      else subscriber.waiting.push(event);
      subscriber.wake();
    }
  }

  /** Subscribes at once, not at the first read, so that nothing between the two is lost. */
  subscribe(signal: AbortSignal): AsyncIterable<DomainEvent> {
    const subscriber: Subscriber = { waiting: [{ kind: 'resync' }], wake: () => undefined };
    this.#subscribers.add(subscriber);
    const leave = (): void => {
      this.#subscribers.delete(subscriber);
      subscriber.wake();
    };
    if (signal.aborted) leave();
    else signal.addEventListener('abort', leave, { once: true });
    return this.#read(subscriber, signal, leave);
  }

  async *#read(subscriber: Subscriber, signal: AbortSignal, leave: () => void): AsyncGenerator<DomainEvent> {
    try {
      while (!signal.aborted) {
        const event = subscriber.waiting.shift();
        if (event !== undefined) {
          yield event;
        } else {
          await new Promise<void>((resolve) => {
            subscriber.wake = resolve;
          });
        }
      }
    } finally {
      signal.removeEventListener('abort', leave);
      leave();
    }
  }
}
