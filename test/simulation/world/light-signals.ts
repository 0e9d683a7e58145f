// SPDX-License-Identifier: Apache-2.0

type Listener = (event: Event) => void;

/** `node:events` asks for this mark before it takes something for an event target. */
const EVENT_TARGET = Symbol.for('nodejs.event_target');

/** What a listener is told: that of Node's own costs more than all listeners together. */
const ABORT_EVENT = new Event('abort');

/** An AbortSignal as far as the services use one. */
class LightSignal {
  static readonly [EVENT_TARGET] = true;
  aborted = false;
  reason: unknown = undefined;
  #listeners: Listener[] | undefined;

  throwIfAborted(): void {
    if (this.aborted) throw this.reason;
  }

  addEventListener(_type: 'abort', listener: Listener): void {
    if (this.aborted) return;
    this.#listeners ??= [];
    if (!this.#listeners.includes(listener)) this.#listeners.push(listener);
  }

  removeEventListener(_type: 'abort', listener: Listener): void {
    const place = this.#listeners?.indexOf(listener) ?? -1;
    if (place >= 0) this.#listeners?.splice(place, 1);
  }

  /** Each listener once, in the order they came; one that was taken out by another is not told. */
  end(reason: unknown): void {
    if (this.aborted) return;
    this.aborted = true;
    this.reason = reason ?? new DOMException('This operation was aborted', 'AbortError');
    while (this.#listeners !== undefined && this.#listeners.length > 0) this.#listeners.shift()?.(ABORT_EVENT);
  }
}

class LightController {
  readonly signal = new LightSignal();

  abort(reason?: unknown): void {
    this.signal.end(reason);
  }
}

/**
 * Gives everything that is made from here on abort signals that cost next to nothing. Node's are event targets in
 * full, and were a fifth of a run. They tell their listeners in the same turn and the same order.
 */
export function useLightSignals(): void {
  Object.assign(globalThis, { AbortController: LightController, AbortSignal: LightSignal });
}
