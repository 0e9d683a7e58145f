// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { chassisEnvironment } from './bmc-device.js';
import type { HostLayout, Lab } from './layout.js';
import { run } from './shell.js';
import { end, launch, readRecord, stateOf } from './supervise.js';

/** The host dies this long after its watchdog was fed last. */
export const watchdogSeconds = 10;

/** What the host's agent is told to feed: a FIFO, where a machine has a character device. */
export const watchdogDevice = (host: HostLayout) => join(host.dir, 'watchdog');
const pidFileOf = (host: HostLayout) => join(host.dir, 'watchdog.pid');

/** Like the BMC it is outside of the host, and survives its crash. It does nothing until somebody arms it. */
export async function ensureWatchdog(lab: Lab, host: HostLayout): Promise<void> {
  if (stateOf(readRecord(pidFileOf(host))) !== 'dead') return;
  const device = watchdogDevice(host);
  if (!existsSync(device)) await run('mkfifo', ['-m', '600', device]);
  const folder = join(lab.checkout, 'deploy/lab');
  await launch({
    argv: ['bash', join(folder, 'watchdog.sh'), device, String(watchdogSeconds), join(folder, 'chassis.sh')],
    env: chassisEnvironment(lab, host),
    pidFile: pidFileOf(host),
    logFile: join(host.dir, 'log/watchdog.log'),
  });
}

export async function endWatchdog(host: HostLayout): Promise<void> {
  await end(readRecord(pidFileOf(host)), 0);
}
