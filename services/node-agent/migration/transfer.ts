// SPDX-License-Identifier: Apache-2.0
import type { MigrationProgress, TransferResponse } from '@lockstep/sdk/v1';
import { LockstepError } from '../../core/errors/catalogue.js';
import type { Clock, Timer } from '../../platform/clock/clock.js';
import type { Points } from '../../platform/env.js';
import {
  HypervisorError,
  type OutgoingMigration,
  type TransferProgress,
} from '../../platform/hypervisor/hypervisor.js';
import type { Logger } from '../../platform/log/log.js';
import { CALL_MS } from '../config.js';
import { abortIfActive } from './orphaned-transfer.js';
import { durationOf } from '../../core/duration.js';
import type { TransferKnowledge } from '../facts.js';
import type { OrderGuard, Speaker } from '../orders.js';

type PerformInput = Parameters<OutgoingMigration['perform']>[0];

type State =
  | { kind: 'performing' }
  | { kind: 'ended'; cookie: Buffer }
  | { kind: 'failed'; reason: string; detail: string; guestRuns: boolean }
  /** The connection broke: the hypervisor may go on by itself. */
  | { kind: 'unknown'; detail: string };

/**
 * The one sending of a guest's memory in a migration. It runs by itself, whether anybody listens or not, and keeps its
 * end for whoever attaches later.
 */
export class Transfer {
  #state: State = { kind: 'performing' };
  #told = false;
  #aborting = false;
  #latest: MigrationProgress | undefined;
  /** Resolves when the transfer has ended, however it did; never rejects. */
  readonly settled: Promise<void>;
  readonly #wakers = new Set<() => void>();

  constructor(
    private readonly parts: {
      clock: Clock;
      points: Points;
      log: Logger;
      guard: OrderGuard;
      progressEveryMs: number;
      handle: OutgoingMigration;
      /** Asks whether the guest's vCPUs run, after a failure. */
      guestRuns: () => Promise<boolean>;
    },
    input: PerformInput,
  ) {
    this.settled = this.#perform(input);
    void this.#measure();
  }

  /** What the facts may rest on. */
  get knowledge(): TransferKnowledge {
    switch (this.#state.kind) {
      case 'performing':
        return { kind: 'performing' };
      case 'ended':
        return { kind: 'ended', told: this.#told };
      case 'failed':
        return { kind: 'failed' };
      case 'unknown':
        return { kind: 'unknown', jobActive: false };
    }
  }

  /** The answer of a Seize tells the end just as a stream does. */
  tell(): void {
    this.#told = true;
  }

  /** Makes it fail; the guest runs on. Resolves when the hypervisor has taken the wish. */
  async abort(): Promise<void> {
    if (this.#state.kind !== 'performing') return;
    this.#aborting = true;
    await abortIfActive(this.parts.handle);
  }

  /**
   * Reports until the end. The end is told only to the highest leader epoch seen: whoever hears it may send
   * Commit(target). Leaving the stream stops nothing.
   */
  async *attach(speaker: Speaker, signal: AbortSignal): AsyncGenerator<TransferResponse> {
    const { guard } = this.parts;
    while (!signal.aborted) {
      guard.stillHighest(speaker);
      const state = this.#state;
      switch (state.kind) {
        case 'ended':
          this.tell();
          yield { event: { $case: 'ended', value: { cookie: state.cookie } } };
          return;
        case 'failed': {
          const { reason, detail, guestRuns } = state;
          yield { event: { $case: 'failed', value: { reason, detail, guestRuns } } };
          return;
        }
        case 'unknown':
          throw new LockstepError('HYPERVISOR_DOWN', `the connection to the hypervisor broke: ${state.detail}`);
        case 'performing':
          if (this.#latest !== undefined) yield { event: { $case: 'progress', value: this.#latest } };
          // The end may have come while the report was on its way.
          if (this.#isPerforming()) await this.#nextChange(signal);
      }
    }
  }

  #isPerforming(): boolean {
    return this.#state.kind === 'performing';
  }

  async #perform(input: PerformInput): Promise<void> {
    try {
      const { cookie } = await this.parts.handle.perform(input);
      // The gap begins here: nothing but the way to the listeners.
      await this.parts.points('agent/transfer/ended');
      this.#end({ kind: 'ended', cookie: Buffer.from(cookie) });
    } catch (error) {
      this.#end(await this.#failure(error));
    }
  }

  async #failure(error: unknown): Promise<State> {
    const detail = error instanceof Error ? error.message : String(error);
    if (error instanceof HypervisorError && (error.kind === 'down' || error.kind === 'deadline')) {
      return { kind: 'unknown', detail };
    }
    const refused = error instanceof HypervisorError && error.kind === 'refused';
    const reason = this.#aborting ? 'CANCELLED' : refused ? 'HYPERVISOR_REFUSED' : 'TRANSFER_FAILED';
    this.parts.log.warn('the transfer failed', { reason, detail });
    return { kind: 'failed', reason, detail, guestRuns: await this.parts.guestRuns() };
  }

  #end(state: State): void {
    this.#state = state;
    this.#wake();
  }

  #wake(): void {
    for (const waker of [...this.#wakers]) waker();
  }

  /** One question at a time; a slow answer only makes the reports rarer. */
  async #measure(): Promise<void> {
    const { clock, handle, progressEveryMs } = this.parts;
    while (this.#isPerforming()) {
      await this.#pause(clock, progressEveryMs);
      if (!this.#isPerforming()) return;
      try {
        this.#latest = progressMessage(await handle.progress({ deadlineMs: CALL_MS.tune }));
      } catch {
        // No job yet, or none any more, or no answer: the next question may have one; the end comes by itself.
      }
      this.#wake();
    }
  }

  /** Ends early when the transfer does. */
  #pause(clock: Clock, delayMs: number): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        if (this.#isPerforming() && !due) return;
        timer.stop();
        this.#wakers.delete(done);
        resolve();
      };
      let due = false;
      const timer: Timer = clock.after(delayMs, () => {
        due = true;
        done();
      });
      this.#wakers.add(done);
    });
  }

  #nextChange(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal.aborted) {
        resolve();
        return;
      }
      const done = (): void => {
        this.#wakers.delete(done);
        signal.removeEventListener('abort', done);
        resolve();
      };
      this.#wakers.add(done);
      signal.addEventListener('abort', done, { once: true });
    });
  }
}

function progressMessage(progress: TransferProgress): MigrationProgress {
  const { expectedDowntimeMs, elapsedMs, bandwidthBytesPerSecond, dirtyRateBytesPerSecond } = progress;
  const net = bandwidthBytesPerSecond - dirtyRateBytesPerSecond;
  const leftMs = net > 0n ? Number((progress.memoryRemainingBytes * 1000n) / net) : undefined;
  return {
    memorySentBytes: progress.memorySentBytes,
    memoryRemainingBytes: progress.memoryRemainingBytes,
    memoryTotalBytes: progress.memoryTotalBytes,
    dirtyRateBytesPerSecond,
    bandwidthBytesPerSecond,
    iteration: progress.iteration,
    expectedDowntime: durationOf(expectedDowntimeMs),
    elapsed: durationOf(elapsedMs),
    estimate: leftMs === undefined ? undefined : durationOf(leftMs),
  };
}
