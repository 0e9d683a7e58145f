// SPDX-License-Identifier: Apache-2.0
import { existsSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Point } from '../../core/migration/points.js';
import type { Points } from '../env.js';

const LOOK_EVERY_MS = 5;

/** The file that a test makes to have the next process that comes to the point stand still there. */
export const armedFile = (folder: string, point: Point): string => join(folder, point.replaceAll('/', '.'));

/** What that process makes of it; it goes on once this is taken away. */
export const reachedFile = (folder: string, point: Point, process: string): string =>
  `${armedFile(folder, point)}@${process}`;

/** In production nothing stands still anywhere. */
export const noPoints: Points = () => Promise.resolve();

/**
 * Stands still where a test asked for it by a file in `folder`. Renaming the file is the claim: of several processes
 * that come to the point, one stands, once.
 *
 * @param process - who this is, as the test names it: `scheduler.h1`
 */
export function pointsOf({ folder, process }: { folder: string; process: string }): Points {
  return async (point) => {
    const reached = reachedFile(folder, point, process);
    try {
      renameSync(armedFile(folder, point), reached);
    } catch {
      // Nobody asked for it.
      return;
    }
    while (existsSync(reached)) await sleep(LOOK_EVERY_MS);
  };
}
