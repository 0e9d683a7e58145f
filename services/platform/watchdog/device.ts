// SPDX-License-Identifier: Apache-2.0
import { constants } from 'node:fs';
import { open, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import type { Watchdog } from './watchdog.js';

/** The kernel's protocol: any byte feeds, and a close counts as the end only after this one. */
const FOOD = '\0';
const MAGIC_CLOSE = 'V';

/** A watchdog of the kernel, e.g. `/dev/watchdog0`; or whatever else takes its bytes. */
export function createWatchdogDevice(path: string, sysFolder = '/sys/class/watchdog'): Watchdog {
  return {
    path,
    timeoutMs: async () => {
      const name = basename(path) === 'watchdog' ? 'watchdog0' : basename(path);
      const text = await readFile(join(sysFolder, name, 'timeout'), 'utf8').catch(() => '');
      const seconds = Number.parseInt(text, 10);
      return Number.isFinite(seconds) ? seconds * 1_000 : undefined;
    },
    arm: async () => {
      // Never waits: a pipe that nobody reads is no watchdog.
      const handle = await open(path, constants.O_WRONLY | constants.O_NONBLOCK);
      const feed = async (): Promise<void> => {
        await handle.write(FOOD);
      };
      try {
        await feed();
      } catch (error) {
        await handle.close();
        throw error;
      }
      return {
        feed,
        disarm: async () => {
          try {
            await handle.write(MAGIC_CLOSE);
          } finally {
            await handle.close();
          }
        },
      };
    },
  };
}
