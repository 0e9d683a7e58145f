// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '@lockstep/services/platform/clock/clock.js';

/** The last lines that are kept for the timeline of a failure. */
const KEPT = 600;

/** What happened in a run, line by line. The same seed gives the same lines, byte for byte. */
export class Trace {
  /** Lines so far: the steps that a failure is placed by. */
  count = 0;
  #hash = 0x811c9dc5;
  #otherHash = 0x9e3779b9;
  #frozen = false;
  readonly #kept: string[] = [];

  constructor(
    private readonly clock: Clock,
    /** Gets every line, e.g. to write it to a file. */
    private readonly sink?: (line: string) => void,
  ) {}

  add(who: string, text: string): void {
    if (this.#frozen) return;
    const line = `${(this.clock.nowMs() / 1000).toFixed(4).padStart(10)}  ${who.padEnd(6)}  ${text}`;
    this.count += 1;
    this.#fold(line);
    this.#kept.push(line);
    if (this.#kept.length > 2 * KEPT) this.#kept.splice(0, KEPT);
    this.sink?.(line);
  }

  /** Nothing that comes after a failure belongs to its story. */
  freeze(): void {
    this.#frozen = true;
  }

  /** Of all lines: two runs with the same hash went the same way. */
  get hash(): string {
    return [this.#hash, this.#otherHash].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
  }

  last(count: number): string[] {
    return this.#kept.slice(-count);
  }

  #fold(line: string): void {
    let [hash, other] = [this.#hash, this.#otherHash];
    for (let place = 0; place < line.length; place++) {
      const code = line.charCodeAt(place);
      hash = Math.imul(hash ^ code, 0x01000193);
      other = Math.imul(other + code, 0x85ebca6b) ^ (other >>> 15);
    }
    [this.#hash, this.#otherHash] = [hash, other];
  }
}
