// SPDX-License-Identifier: Apache-2.0
import { Cancelled, DeadlineExceeded, withDeadline, type Clock } from '../platform/clock/clock.js';
import { HypervisorError, type CallLimit } from '../platform/hypervisor/hypervisor.js';
import type { Logger } from '../platform/log/log.js';

/** How fresh a collector's figures are. */
export interface Freshness {
  collector: string;
  /** Since its last good value; undefined: it never had one. */
  ageMs: number | undefined;
  /** Why the last pass failed; empty where it did not. */
  failure: string;
}

/** One pass of a collector. */
export interface Pass {
  collector: string;
  tookMs: number;
  ended: 'good' | 'timeout' | 'error';
}

/**
 * Gathers one kind of figures, at most one pass at a time and never longer than its limit. A value that comes after
 * the limit is dropped; the last good one stays and grows old in sight.
 */
export class Collector<T> {
  readonly name: string;
  #lastGoodMs: number | undefined;
  #failure = '';
  #running: Promise<void> | undefined;
  #again = false;

  constructor(
    private readonly parts: {
      name: string;
      clock: Clock;
      log: Logger;
      limitMs: number;
      signal: AbortSignal;
      collect: (call: CallLimit) => Promise<T>;
      apply: (value: T) => void;
      /** Told after every pass, good or not. */
      onPass: (pass: Pass) => void;
    },
  ) {
    this.name = parts.name;
  }

  /** Starts a pass, or lets one follow the pass that runs. Never rejects. */
  refresh(): Promise<void> {
    if (this.#running !== undefined) {
      this.#again = true;
      return this.#running;
    }
    this.#running = this.#passes().finally(() => {
      this.#running = undefined;
    });
    return this.#running;
  }

  get failing(): boolean {
    return this.#failure !== '';
  }

  freshness(): Freshness {
    const ageMs = this.#lastGoodMs === undefined ? undefined : this.parts.clock.nowMs() - this.#lastGoodMs;
    return { collector: this.name, ageMs, failure: this.#failure };
  }

  async #passes(): Promise<void> {
    do {
      this.#again = false;
      await this.#pass();
    } while (this.#wanted());
  }

  #wanted(): boolean {
    return this.#again && !this.parts.signal.aborted;
  }

  async #pass(): Promise<void> {
    const { clock, log, limitMs, signal, collect, apply, name } = this.parts;
    const startedMs = clock.nowMs();
    let ended: Pass['ended'] = 'good';
    try {
      const value = await withDeadline(clock, { what: name, limitMs, signal }, (inner) =>
        collect({ deadlineMs: limitMs, signal: inner }),
      );
      apply(value);
      this.#lastGoodMs = clock.nowMs();
      if (this.#failure !== '') log.ok('collected again');
      this.#failure = '';
      log.debug('collected', { tookMs: Math.round(clock.nowMs() - startedMs) });
    } catch (error) {
      if (error instanceof Cancelled && signal.aborted) return;
      ended = timedOut(error) ? 'timeout' : 'error';
      const failure = error instanceof Error ? error.message : String(error);
      if (this.#failure === '') log.warn('cannot collect; the last values stay and grow old', { failure });
      this.#failure = failure;
    }
    this.parts.onPass({ collector: name, tookMs: clock.nowMs() - startedMs, ended });
  }
}

function timedOut(error: unknown): boolean {
  return error instanceof DeadlineExceeded || (error instanceof HypervisorError && error.kind === 'deadline');
}
