// SPDX-License-Identifier: Apache-2.0
import { spawn, type ChildProcessWithoutNullStreams } from 'node:child_process';
import { join } from 'node:path';
import { serialFile, type Lab } from '#lab';

/** A host's file was seen to have grown. */
export interface Growth {
  /** Milliseconds since 1970. */
  atMs: number;
  /** The host's number in the list of files. */
  file: number;
}

/** A guest that is handed over does not come back in this time. */
const TOGETHER_MS = 1_000;
const LEAST_SAMPLES_PER_SECOND = 20;

/**
 * The moments in which two copies ran: a host's file grew, then another one's, then the first one's again, in less time
 * than a move there and back takes. Growths seen by the same look have no order, and count for neither.
 */
export function togetherAt(growths: readonly Growth[]): Growth[] {
  return growths.filter((middle) => {
    const near = (other: Growth): boolean => Math.abs(other.atMs - middle.atMs) < TOGETHER_MS;
    const others = growths.filter((other) => other.file !== middle.file && near(other));
    const before = new Set(others.filter(({ atMs }) => atMs < middle.atMs).map(({ file }) => file));
    return others.some(({ atMs, file }) => atMs > middle.atMs && before.has(file));
  });
}

/** Watches where a guest's output grows, which is where a copy of it runs. */
export class Monitor {
  readonly #child: ChildProcessWithoutNullStreams;
  readonly #exited: Promise<void>;
  #text = '';
  #growths: readonly Growth[] = [];

  constructor(
    private readonly lab: Lab,
    guest: string,
  ) {
    // The built one, also where a test runner runs this.
    const program = join(lab.checkout, 'test/dist/lab/kill-matrix/monitor-process.js');
    this.#child = spawn(process.execPath, [program, ...lab.hosts.map((host) => serialFile(host, guest))]);
    this.#child.stdout.on('data', (text: Buffer) => (this.#text += text.toString()));
    this.#exited = new Promise((resolve) => {
      this.#child.on('close', () => {
        resolve();
      });
    });
  }

  /** Every growth that it saw; once it has ended. */
  get growths(): readonly Growth[] {
    return this.#growths;
  }

  /** Ends it. Returns what is wrong by what it saw; empty where nothing is. */
  async end(): Promise<string[]> {
    this.#child.kill('SIGTERM');
    await this.#exited;
    const lines = this.#text.trimEnd().split('\n');
    const [, rate = '0', longest = '?'] = /^samples (\S+) (\S+)$/.exec(lines.at(-1) ?? '') ?? [];
    const wrong: string[] = [];
    if (Number(rate) < LEAST_SAMPLES_PER_SECOND) {
      wrong.push(`the monitor looked only ${rate} times a second (longest pause ${longest} ms)`);
    }
    const growths = lines.slice(0, -1).map((line) => {
      const [atMs = '', file = ''] = line.split(' ');
      return { atMs: Number(atMs), file: Number(file) };
    });
    this.#growths = growths;
    const [first] = togetherAt(growths);
    if (first !== undefined) {
      const around = growths
        .filter(({ atMs }) => Math.abs(atMs - first.atMs) < TOGETHER_MS)
        .map(({ atMs, file }) => `${(atMs - first.atMs).toFixed(0)} ms ${this.lab.hosts[file]?.name ?? '?'}`);
      wrong.push(`two copies ran at a moment: ${around.join(', ')}`);
    }
    return wrong;
  }
}
