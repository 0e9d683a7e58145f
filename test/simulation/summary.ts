// SPDX-License-Identifier: Apache-2.0
import type { Failure, SeedReport } from './seeds.js';

/** How long it took. */
export interface Cost {
  seconds: number;
  cpuSeconds: number;
}

/** What many seeds came to together, in whatever order they were done. */
export class Summary {
  #virtualMs = 0;
  #steps = 0;
  #migrations = 0;
  #wishes = 0;
  #slowestRestMs = 0;
  readonly #failures: Failure[] = [];
  /** By seed, in the order of seeds, as objects have it with whole numbers. */
  readonly #hashes: Record<string, string> = {};

  add({ seed, hash, virtualMs, steps, migrations, wishes, restMs, failure }: SeedReport): void {
    this.#hashes[seed] = hash;
    this.#virtualMs += virtualMs;
    this.#steps += steps;
    this.#migrations += migrations;
    this.#wishes += wishes;
    this.#slowestRestMs = Math.max(this.#slowestRestMs, restMs);
    if (failure === undefined) return;
    this.#failures.push(failure);
    this.#failures.sort((one, other) => one.seed - other.seed);
  }

  get failures(): readonly Failure[] {
    return this.#failures;
  }

  get #ran(): number {
    return Object.keys(this.#hashes).length;
  }

  json(seeds: number, from: number, { seconds, cpuSeconds }: Cost): string {
    const virtualMinutes = this.#virtualMs / 60_000;
    return JSON.stringify({
      ...{ seeds, ran: this.#ran, from, failures: this.#failures },
      ...{ virtualMinutes, seconds, minutesPerSecond: virtualMinutes / seconds, minutesPerCpuSecond: virtualMinutes / cpuSeconds },
      ...{ steps: this.#steps, migrations: this.#migrations, wishes: this.#wishes, slowestRestMs: this.#slowestRestMs, hashes: this.#hashes },
    });
  }

  line({ seconds, cpuSeconds }: Cost): string {
    const minutes = this.#virtualMs / 60_000;
    const found = this.#failures.map(({ seed, violation }) => `${String(seed)} ${violation.invariant}`).join(', ');
    return [
      `${String(this.#ran)} seeds, ${String(this.#failures.length)} with a violation${found === '' ? '' : ` (${found})`}`,
      `${minutes.toFixed(0)} virtual minutes in ${seconds.toFixed(1)} s: ${(minutes / seconds).toFixed(1)} a second, ${(minutes / cpuSeconds).toFixed(1)} a second of CPU`,
      `${String(this.#wishes)} wishes, ${String(this.#migrations)} migrations`,
      `slowest rest ${(this.#slowestRestMs / 1000).toFixed(0)} s`,
    ].join('; ');
  }
}
