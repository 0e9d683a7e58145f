// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import type { Point } from '@lockstep/services/core/migration/points.js';
import { armedFile } from '@lockstep/services/platform/process/points.js';
import { until, type Lab } from '#lab';

/** A named point at which one process of the lab stands still. */
export class Stand {
  constructor(
    private readonly lab: Lab,
    private readonly point: Point,
  ) {
    mkdirSync(lab.pointsDir, { recursive: true });
  }

  /** The next process that comes there stands still. */
  arm(): void {
    writeFileSync(armedFile(this.lab.pointsDir, this.point), '');
  }

  /** Waits until one stands there; its name, such as `scheduler.h1`. */
  async reached(limitMs: number): Promise<string> {
    let who = '';
    await until(`somebody at ${this.point}`, limitMs, () => {
      who = this.#standing()[0]?.split('@')[1] ?? '';
      return Promise.resolve(who === '' ? 'nobody has come there' : undefined);
    });
    return who;
  }

  /** Whoever stands there goes on, and nobody stops there any more. */
  release(): void {
    rmSync(armedFile(this.lab.pointsDir, this.point), { force: true });
    for (const file of this.#standing()) rmSync(join(this.lab.pointsDir, file), { force: true });
  }

  #standing(): string[] {
    const name = `${basename(armedFile(this.lab.pointsDir, this.point))}@`;
    return readdirSync(this.lab.pointsDir).filter((file) => file.startsWith(name));
  }
}
