// SPDX-License-Identifier: Apache-2.0
import type { Trace } from './trace.js';

/** A promise of the system that was broken. */
export interface Violation {
  /** E.g. `INV-1`. */
  invariant: string;
  detail: string;
  /** Line of the trace, and virtual time. */
  step: number;
  atMs: number;
}

/** Collects what was broken; the first one ends the run. */
export class Violations {
  readonly found: Violation[] = [];

  constructor(
    private readonly trace: Trace,
    private readonly nowMs: () => number,
  ) {}

  report(invariant: string, detail: string): void {
    this.trace.add('CHECK', `${invariant} BROKEN: ${detail}`);
    this.trace.freeze();
    this.found.push({ invariant, detail, step: this.trace.count, atMs: this.nowMs() });
  }

  get first(): Violation | undefined {
    return this.found[0];
  }
}
