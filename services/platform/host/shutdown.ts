// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

/** Whether the whole host is going down, and whether it comes back by itself. */
export type GoingDown = 'no' | 'reboot' | 'shutdown';

/** Tells the end of a service from the end of its host. */
export interface HostShutdown {
  /** Asked when this process is told to end. What cannot be told is `no`: then nothing is done to any VM. */
  goingDown(): Promise<GoingDown>;
}

const run = promisify(execFile);
const LIMIT_MS = 3_000;
const REBOOTS = /\b(reboot|kexec|soft-reboot)\.target\b/;
const ENDS = /\b(poweroff|halt)\.target\b/;

/** What the service manager is about: it alone knows whether it stops one unit or all of them. */
export function createSystemdShutdown(systemctl = 'systemctl'): HostShutdown {
  const ask = async (...words: string[]): Promise<string> => {
    try {
      return (await run(systemctl, words, { timeout: LIMIT_MS, killSignal: 'SIGKILL' })).stdout;
    } catch (error) {
      // A state other than `running` is told with a status other than 0, on stdout all the same.
      const { stdout } = error as { stdout?: unknown };
      return typeof stdout === 'string' ? stdout : '';
    }
  };
  return {
    async goingDown() {
      if ((await ask('is-system-running')).trim() !== 'stopping') return 'no';
      return goingDownBy(await ask('list-jobs', '--no-legend', '--plain'));
    },
  };
}

/** What the jobs of a service manager that stops everything lead to. A host that stops for no named end stays off. */
export function goingDownBy(jobs: string): GoingDown {
  if (ENDS.test(jobs)) return 'shutdown';
  return REBOOTS.test(jobs) ? 'reboot' : 'shutdown';
}
