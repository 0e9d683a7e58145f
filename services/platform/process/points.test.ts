// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { armedFile, pointsOf, reachedFile } from './points.js';

const POINT = 'scheduler/step/transfer';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'lockstep-points-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Whether it has gone on, after it was given every chance to. */
async function goesOn(stay: Promise<void>): Promise<boolean> {
  return Promise.race([stay.then(() => true), sleep(100).then(() => false)]);
}

describe('a process at a named point', () => {
  it('goes on where nothing is asked of it', async () => {
    expect(await goesOn(pointsOf({ folder, process: 'scheduler.h1' })(POINT))).toBe(true);
  });

  it('stands where a test asks for it, says so, and goes on when it may', async () => {
    writeFileSync(armedFile(folder, POINT), '');
    const stay = pointsOf({ folder, process: 'scheduler.h1' })(POINT);
    expect(existsSync(reachedFile(folder, POINT, 'scheduler.h1'))).toBe(true);
    expect(await goesOn(stay)).toBe(false);
    rmSync(reachedFile(folder, POINT, 'scheduler.h1'));
    await stay;
  });

  it('stands once: who comes after it passes', async () => {
    writeFileSync(armedFile(folder, POINT), '');
    const first = pointsOf({ folder, process: 'scheduler.h1' })(POINT);
    expect(await goesOn(pointsOf({ folder, process: 'scheduler.h2' })(POINT))).toBe(true);
    rmSync(reachedFile(folder, POINT, 'scheduler.h1'));
    await first;
  });

  it('passes the points that nobody asked for', async () => {
    writeFileSync(armedFile(folder, POINT), '');
    expect(await goesOn(pointsOf({ folder, process: 'scheduler.h1' })('scheduler/taken-up'))).toBe(true);
  });
});
