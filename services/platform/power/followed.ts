// SPDX-License-Identifier: Apache-2.0
import { stat } from 'node:fs/promises';
import type { Clock } from '../clock/clock.js';
import type { Logger } from '../log/log.js';
import { loadBmcs } from './credentials.js';
import type { Bmcs } from './power.js';

const LOOK_EVERY_MS = 10_000;

/**
 * The BMCs of all nodes, read again whenever their file has changed, so that a password can be changed without a restart.
 * A file that has become wrong is told of and does not count: the last good one does. Rejects with ConfigError where it is
 * wrong at the start. Ends with the signal.
 */
export async function followBmcs(
  file: string | undefined,
  { clock, log, signal }: { clock: Clock; log: Logger; signal: AbortSignal },
): Promise<Bmcs> {
  let seen = await versionOf(file);
  let current = await loadBmcs(file, clock);
  const look = async (): Promise<void> => {
    const version = await versionOf(file);
    if (version === seen) return;
    seen = version;
    try {
      current = await loadBmcs(file, clock);
      log.info('the BMCs were read again, as their file has changed');
    } catch (error) {
      log.error('the file of the BMCs has changed and is wrong: the last good one counts', { error });
    }
  };
  const next = (): void => {
    if (signal.aborted) return;
    clock.after(LOOK_EVERY_MS, () => {
      void look().finally(next);
    });
  };
  if (file !== undefined) next();
  return { of: (node) => current.of(node), devices: (node) => current.devices(node) };
}

/** What changes with a file's content; a file that cannot be looked at has a version of its own. */
async function versionOf(file: string | undefined): Promise<string> {
  if (file === undefined) return '';
  try {
    const { ino, size, mtimeNs, ctimeNs } = await stat(file, { bigint: true });
    return [ino, size, mtimeNs, ctimeNs].join(' ');
  } catch {
    return 'not there';
  }
}
