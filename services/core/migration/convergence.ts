// SPDX-License-Identifier: Apache-2.0

/** What a transfer may cost. Milliseconds. */
export interface ConvergenceLimits {
  /** How long the guest may stand still at the end: the allowed downtime never goes beyond it. */
  pauseBudgetMs: number;
  /** From the transfer's beginning to its end, at the latest. */
  deadlineMs: number;
  /** The hypervisor slows the guest down by itself where it writes too fast, which takes its time. */
  autoConverge: boolean;
  postCopy: boolean;
}

/** One look at a transfer: bytes, bytes per second, milliseconds since it began. */
export interface TransferSample {
  elapsedMs: number;
  /** Pass over the memory, from 1. */
  iteration: number;
  remainingBytes: number;
  dirtyRateBytesPerSecond: number;
  bandwidthBytesPerSecond: number;
  /** What the hypervisor reckons the switch would take now. */
  expectedDowntimeMs: number;
}

/** What is to be done about a transfer now. */
export type ConvergenceStep =
  | { kind: 'go-on' }
  | { kind: 'allow-downtime'; downtimeMs: number }
  | { kind: 'post-copy' }
  | { kind: 'give-up'; detail: string };

/** The allowed downtime grows in so many equal steps up to the budget. */
const DOWNTIME_STEPS = 3;
/** Trends are looked at over this long, so that many short passes count as one. */
const WINDOW_MS = 2_000;
/** No new low for this long, and for a whole pass, is a stall. */
const STALL_MS = 3_000;
/** What counts as a new low: a twentieth less. */
const NEW_LOW = 0.95;
/** Auto-converge takes more of the guest's time with every other pass; it gets this long to have an effect. */
const THROTTLED_PATIENCE_MS = 60_000;
const PATIENCE_MS = 15_000;
/** A link on which this little of its best rate goes is in trouble; the guest is not to blame. */
const LINK_IN_TROUBLE = 0.1;
/** A guest that may switch to post-copy is not left to its deadline: there must be time to fetch the rest. */
const POST_COPY_AT = 0.8;

/** The first of the steps: most guests fit it, and stand still no longer than they must. */
export function firstDowntimeMs({ pauseBudgetMs }: Pick<ConvergenceLimits, 'pauseBudgetMs'>): number {
  return Math.ceil(pauseBudgetMs / DOWNTIME_STEPS);
}

/**
 * Sees by the trends of one transfer whether it gets nearer to its end, and says what to do where it does not: allow
 * the guest to stand still for longer, up to its budget; leave it to auto-converge; switch to post-copy; or give up,
 * with the figures. Pure: everything comes with the samples.
 */
export class Convergence {
  /** From the second pass on, over one window. */
  #recent: TransferSample[] = [];
  /** The pass that goes on, and how long the one before it took. */
  #pass = { iteration: 1, sinceMs: 0, peakBytes: 0, lastMs: 0 };
  #downtimeMs: number;
  #lowestBytes = Number.POSITIVE_INFINITY;
  #lowestAtMs = 0;
  #bestBandwidth = 0;
  #switching = false;

  constructor(private readonly limits: ConvergenceLimits) {
    this.#downtimeMs = firstDowntimeMs(limits);
  }

  look(sample: TransferSample): ConvergenceStep {
    if (this.#switching) return { kind: 'go-on' };
    const { elapsedMs, iteration } = sample;
    const { deadlineMs, postCopy } = this.limits;
    if (postCopy && elapsedMs >= deadlineMs * POST_COPY_AT) return this.#switch();
    if (elapsedMs >= deadlineMs) return this.#giveUp(sample, `not done within ${seconds(deadlineMs)}`);
    // The first pass sends everything once: it ends, and says nothing of the guest.
    if (iteration < 2) return { kind: 'go-on' };
    this.#note(sample);
    return this.#getsNearer(sample) ? { kind: 'go-on' } : this.#stalled(sample);
  }

  #note(sample: TransferSample): void {
    const { elapsedMs, iteration, remainingBytes } = sample;
    if (iteration !== this.#pass.iteration) {
      const lastMs = elapsedMs - this.#pass.sinceMs;
      this.#pass = { iteration, sinceMs: elapsedMs, peakBytes: 0, lastMs };
    }
    this.#pass.peakBytes = Math.max(this.#pass.peakBytes, remainingBytes);
    this.#recent = [...this.#recent.filter((one) => one.elapsedMs >= elapsedMs - WINDOW_MS), sample];
  }

  /**
   * What remains goes up and down with every pass; what a pass begins with is what counts. A new low of that is
   * progress, and so is a pass that is not over yet.
   */
  #getsNearer({ elapsedMs }: TransferSample): boolean {
    const bandwidth = this.#recent.reduce((sum, one) => sum + one.bandwidthBytesPerSecond, 0) / this.#recent.length;
    this.#bestBandwidth = Math.max(this.#bestBandwidth, bandwidth);
    const peak = this.#recent.reduce((most, one) => Math.max(most, one.remainingBytes), this.#pass.peakBytes);
    const newLow = peak < this.#lowestBytes * NEW_LOW;
    if (newLow) this.#lowestBytes = peak;
    if (newLow || bandwidth < this.#bestBandwidth * LINK_IN_TROUBLE) this.#lowestAtMs = elapsedMs;
    return elapsedMs - this.#lowestAtMs < Math.max(STALL_MS, this.#pass.lastMs);
  }

  #stalled(sample: TransferSample): ConvergenceStep {
    const { pauseBudgetMs, autoConverge, postCopy } = this.limits;
    if (this.#downtimeMs < pauseBudgetMs) {
      const step = pauseBudgetMs / DOWNTIME_STEPS;
      // What the hypervisor reckons it needs spares the steps below it.
      const wanted = Math.max(this.#downtimeMs + step, sample.expectedDowntimeMs <= pauseBudgetMs ? sample.expectedDowntimeMs : 0);
      this.#downtimeMs = Math.min(pauseBudgetMs, Math.ceil(wanted));
      this.#lowestAtMs = sample.elapsedMs;
      return { kind: 'allow-downtime', downtimeMs: this.#downtimeMs };
    }
    if (postCopy) return this.#switch();
    const patienceMs = autoConverge ? THROTTLED_PATIENCE_MS : PATIENCE_MS;
    const stalledMs = sample.elapsedMs - this.#lowestAtMs;
    return stalledMs < patienceMs ? { kind: 'go-on' } : this.#giveUp(sample, `no nearer to its end for ${seconds(stalledMs)}`);
  }

  #switch(): ConvergenceStep {
    this.#switching = true;
    return { kind: 'post-copy' };
  }

  #giveUp(sample: TransferSample, why: string): ConvergenceStep {
    return { kind: 'give-up', detail: `${why}: ${figuresOf(sample)}, may stand still for ${String(this.#downtimeMs)} ms` };
  }
}

type Figures = Pick<TransferSample, 'dirtyRateBytesPerSecond' | 'bandwidthBytesPerSecond' | 'iteration' | 'remainingBytes'>;

/** E.g. "dirties 1.1 GiB/s over a 0.4 GiB/s link, 62 MiB left in pass 17". */
export function figuresOf({ dirtyRateBytesPerSecond, bandwidthBytesPerSecond, iteration, remainingBytes }: Figures): string {
  const rates = `dirties ${bytes(dirtyRateBytesPerSecond)}/s over a ${bytes(bandwidthBytesPerSecond)}/s link`;
  return `${rates}, ${bytes(remainingBytes)} left in pass ${String(iteration)}`;
}

function bytes(amount: number): string {
  const gib = amount / 2 ** 30;
  return gib >= 0.1 ? `${gib.toFixed(1)} GiB` : `${(amount / 2 ** 20).toFixed(1)} MiB`;
}

function seconds(ms: number): string {
  return `${(ms / 1000).toFixed(0)} s`;
}
