// SPDX-License-Identifier: Apache-2.0
import type { Clock, Timer } from '../clock/clock.js';
import { type DomainState, HypervisorError, type TransferProgress, type TransferSettings } from './hypervisor.js';
import type { MemoryImage, SimulatedGuest } from './simulated-guest.js';

/** The target's end of the memory stream. */
export interface IncomingStream {
  /** `reset`: nobody listens there any more; `silent`: its host is without power, nothing ever comes back. */
  readonly state: 'open' | 'reset' | 'silent';
  /** All memory has arrived. */
  complete(image: MemoryImage): void;
  /** The guest may go on there although most of its memory has not arrived. */
  beginPostCopy(image: MemoryImage): void;
  /** The source's end is gone before all memory was sent. */
  breakOff(): void;
  /** Calls `listener` when the state changes; returns how to take that back. */
  whenChanged(listener: () => void): () => void;
}

/** What a finished transfer cost. Times of the injected clock. */
export interface TransferCost {
  startedMs: number;
  pausedMs: number;
  sentBytes: number;
  iterations: number;
}

const DEFAULT_MAX_DOWNTIME_MS = 300;
/** An iteration takes this long at least, and so does handing over. */
const LEAST_ITERATION_MS = 5;
/** A stream on which nothing moves is given up by TCP after this. */
const STALL_LIMIT_MS = 120_000;
/** Auto-converge takes this share of the vCPUs' time away at first, then more with every iteration. */
const THROTTLE = { initial: 0.2, step: 0.1, most: 0.99 };

type Phase = 'copying' | 'handing-over' | 'post-copy' | 'ended';

/**
 * Pre-copy as QEMU does it: sends memory in iterations while the guest writes on, stops the guest when the rest fits
 * the allowed downtime, and sends the rest. Nothing but `abort` ends one that does not converge.
 */
export class SimulatedTransfer {
  /**
   * Settles when the guest stands still: all memory is sent, or will be by post-copy. Fails with `aborted` or `failed`,
   * the guest runs on.
   */
  readonly done: Promise<TransferCost>;

  readonly #clock: Clock;
  readonly #guest: SimulatedGuest;
  readonly #stream: IncomingStream;
  readonly #linkRate: () => number;
  readonly #onIteration: (iteration: number) => void;
  readonly #before: DomainState;
  readonly #settings: TransferSettings;
  readonly #startedMs: number;
  readonly #unwatch: (() => void)[] = [];
  #resolve: (cost: TransferCost) => void = () => undefined;
  #reject: (error: HypervisorError) => void = () => undefined;
  #phase: Phase = 'copying';
  #maxDowntimeMs: number;
  #bandwidth: number;
  #remaining: number;
  #sent = 0;
  #iteration = 1;
  #iterationStart: { ms: number; ranMs: number };
  /** Up to when sent bytes are booked, and how fast they have gone since. */
  #booked: { ms: number; rate: number };
  #throttle = 0;
  #pausedMs = 0;
  #timer: Timer | undefined;

  constructor(input: {
    clock: Clock;
    guest: SimulatedGuest;
    stream: IncomingStream;
    /** Bytes per second of the link at this moment; 0 while it is cut. */
    linkRate: () => number;
    watchRates: (watcher: () => void) => () => void;
    settings: TransferSettings;
    onIteration: (iteration: number) => void;
  }) {
    this.#clock = input.clock;
    this.#guest = input.guest;
    this.#stream = input.stream;
    this.#linkRate = input.linkRate;
    this.#onIteration = input.onIteration;
    this.#settings = input.settings;
    this.#before = input.guest.state;
    this.#maxDowntimeMs = input.settings.maxDowntimeMs ?? DEFAULT_MAX_DOWNTIME_MS;
    this.#bandwidth = bandwidthOf(input.settings.bandwidthBytesPerSecond);
    this.#remaining = input.guest.residentBytes;
    this.#startedMs = this.#clock.nowMs();
    this.#booked = { ms: this.#startedMs, rate: 0 };
    this.#iterationStart = { ms: this.#startedMs, ranMs: input.guest.memory().ranMs };
    this.done = new Promise((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
    });
    // Whoever started it may be gone by the time it fails.
    this.done.catch(() => undefined);
    this.#unwatch.push(
      input.watchRates(() => {
        this.#pace();
      }),
      input.stream.whenChanged(() => {
        this.#pace();
      }),
      input.guest.watch(() => {
        if (input.guest.alive) this.#pace();
        else this.#fail('failed', 'the domain is not running any more');
      }),
    );
    this.#pace();
  }

  get active(): boolean {
    return this.#phase !== 'ended';
  }

  progress(): TransferProgress {
    this.#book();
    const rate = this.#rate();
    const dirtyRate = this.#guest.running ? this.#dirtyRate() : 0;
    return {
      memorySentBytes: BigInt(Math.round(this.#sent)),
      memoryRemainingBytes: BigInt(Math.round(this.#remaining)),
      memoryTotalBytes: BigInt(this.#guest.memoryBytes),
      dirtyRateBytesPerSecond: BigInt(Math.round(dirtyRate)),
      bandwidthBytesPerSecond: BigInt(Math.round(rate)),
      iteration: this.#iteration,
      expectedDowntimeMs: rate === 0 ? STALL_LIMIT_MS : Math.round((this.#remaining / rate) * 1000),
      elapsedMs: Math.round(this.#clock.nowMs() - this.#startedMs),
    };
  }

  setMaxDowntime(downtimeMs: number): void {
    this.#maxDowntimeMs = downtimeMs;
  }

  setBandwidth(bytesPerSecond: bigint): void {
    this.#bandwidth = bandwidthOf(bytesPerSecond);
    this.#pace();
  }

  startPostCopy(): void {
    if (!this.#settings.postCopy) throw new HypervisorError('refused', 'post-copy was not allowed for this migration');
    if (this.#phase !== 'copying') throw new HypervisorError('refused', 'the guest stands still already');
    this.#phase = 'post-copy';
    this.#pausedMs = this.#clock.nowMs();
    this.#guest.become({ state: 'paused', reason: 'migration' }, 'suspended (post-copy)');
    this.#stream.beginPostCopy(this.#guest.memory());
    this.#pace();
    this.#resolve(this.#cost());
  }

  pause(): void {
    if (this.#phase !== 'copying') throw new HypervisorError('refused', 'the guest stands still already');
    this.#guest.become({ state: 'paused', reason: 'migration' }, 'suspended (by request, while it is sent)');
  }

  abort(): void {
    if (this.#phase === 'post-copy') throw new HypervisorError('refused', 'post-copy cannot be aborted');
    this.#fail('aborted', 'the migration job was aborted');
  }

  /** The source's host is without power: nobody is told. */
  vanish(): void {
    this.#end();
  }

  /** Waits for the stream to move, the iteration to end, or TCP to give up. */
  #pace(): void {
    if (this.#phase === 'ended') return;
    this.#book();
    this.#timer?.stop();
    if (this.#stream.state === 'reset') {
      this.#fail('failed', 'unable to write to socket: connection reset by peer');
      return;
    }
    const rate = this.#rate();
    if (rate === 0) {
      this.#timer = this.#clock.after(STALL_LIMIT_MS, () => {
        this.#fail('failed', 'unable to write to socket: connection timed out');
      });
      return;
    }
    const earliestMs = this.#iterationStart.ms + LEAST_ITERATION_MS - this.#clock.nowMs();
    this.#timer = this.#clock.after(Math.max((this.#remaining / rate) * 1000, earliestMs, 0), () => {
      this.#sent += this.#remaining;
      this.#remaining = 0;
      this.#book();
      if (this.#phase === 'copying') this.#endIteration();
      else this.#complete();
    });
  }

  #endIteration(): void {
    const { ranMs } = this.#guest.memory();
    const dirtied = (this.#dirtyRate() * (ranMs - this.#iterationStart.ranMs)) / 1000;
    this.#remaining = Math.min(dirtied, this.#guest.workingSetBytes);
    this.#iterationStart = { ms: this.#clock.nowMs(), ranMs };
    if ((this.#remaining / this.#rate()) * 1000 <= this.#maxDowntimeMs) {
      this.#phase = 'handing-over';
      this.#pausedMs = this.#clock.nowMs();
      this.#guest.become({ state: 'paused', reason: 'migration' }, 'suspended (migrated)');
    } else {
      this.#iteration += 1;
      this.#onIteration(this.#iteration);
      if (this.#settings.autoConverge && this.#iteration > 2) {
        const next = this.#throttle === 0 ? THROTTLE.initial : this.#throttle + THROTTLE.step;
        this.#throttle = Math.min(next, THROTTLE.most);
      }
    }
    this.#pace();
  }

  #complete(): void {
    this.#end();
    this.#stream.complete(this.#guest.memory());
    this.#resolve(this.#cost());
  }

  #cost(): TransferCost {
    return {
      startedMs: this.#startedMs,
      pausedMs: this.#pausedMs,
      sentBytes: Math.round(this.#sent),
      iterations: this.#iteration,
    };
  }

  #fail(kind: 'aborted' | 'failed', message: string): void {
    if (this.#phase === 'ended') return;
    const postCopy = this.#phase === 'post-copy';
    this.#end();
    this.#stream.breakOff();
    if (this.#guest.alive && this.#before.state !== 'off') {
      if (postCopy) this.#guest.become({ state: 'paused', reason: 'post-copy-failed' }, 'suspended (post-copy failed)');
      else this.#guest.become(this.#before, 'resumed (migration failed)');
    }
    this.#reject(new HypervisorError(kind, message));
  }

  #end(): void {
    this.#phase = 'ended';
    this.#timer?.stop();
    for (const unwatch of this.#unwatch) unwatch();
  }

  /** Books what was sent since the last time. */
  #book(): void {
    const nowMs = this.#clock.nowMs();
    const moved = Math.min(this.#remaining, (this.#booked.rate * (nowMs - this.#booked.ms)) / 1000);
    this.#booked = { ms: nowMs, rate: this.#rate() };
    this.#sent += moved;
    this.#remaining -= moved;
  }

  #rate(): number {
    if (this.#guest.frozen || this.#stream.state !== 'open') return 0;
    // The limit is for memory that is sent again and again, not for what a guest waits for.
    return this.#phase === 'post-copy' ? this.#linkRate() : Math.min(this.#bandwidth, this.#linkRate());
  }

  #dirtyRate(): number {
    return this.#guest.behaviour.dirtyRateBytesPerSecond * (1 - this.#throttle);
  }
}

function bandwidthOf(bytesPerSecond: bigint | undefined): number {
  return bytesPerSecond === undefined || bytesPerSecond === 0n ? Number.POSITIVE_INFINITY : Number(bytesPerSecond);
}
