// SPDX-License-Identifier: Apache-2.0
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { bmcModeNames, isSilent, type BmcMode } from './bmc-modes.js';
import { chassisEnvironment, deviceOf, deviceState, endDevice, startDevice } from './bmc-device.js';
import { readIfThere, writeWhole } from './files.js';
import type { HostLayout, Lab } from './layout.js';
import { run } from './shell.js';
import { end, launch, readRecord, stateOf, type ProcessState } from './supervise.js';

const dirOf = (host: HostLayout) => deviceOf(host, 'bmc').dir;
const returnPidFileOf = (host: HostLayout) => join(dirOf(host), 'return-pid');
const RETURN_SECONDS = 60;

export function bmcMode(host: HostLayout): BmcMode {
  const mode = readIfThere(join(dirOf(host), 'mode'));
  return bmcModeNames.find((known) => known === mode) ?? 'up';
}

export function bmcState(host: HostLayout): { mode: BmcMode; process: ProcessState } {
  return { mode: bmcMode(host), process: deviceState(deviceOf(host, 'bmc')) };
}

/** Puts the host's BMC into a mode, and starts, restarts or ends its processes as that needs. */
export async function setBmcMode(lab: Lab, host: HostLayout, mode: BmcMode): Promise<void> {
  const before = bmcState(host);
  if (before.mode === mode && (before.process === 'running') !== isSilent(mode) && mode !== 'already-off') return;
  await endBmc(host);
  const [first, second] = [deviceOf(host, 'bmc'), deviceOf(host, 'bmc2')];
  rmSync(join(first.dir, 'belief'), { force: true });
  writeWhole(join(first.dir, 'mode'), mode);
  if (!isSilent(mode)) await startDevice(lab, first, mode);
  if (mode === 'second-device') await startDevice(lab, second, 'up');
  if (mode === 'already-off') await switchOffByHand(lab, host);
  if (mode === 'back-after-60-s') await returnLater(lab, host);
}

/** As with the button at the machine: no BMC is asked. */
async function switchOffByHand(lab: Lab, host: HostLayout): Promise<void> {
  const env = { ...process.env, ...chassisEnvironment(lab, host) };
  await run('sh', [join(lab.checkout, 'deploy/lab/chassis.sh'), 'set', 'power', '0'], { env });
}

/** A process of its own counts the time: whoever set the mode may be gone by then. */
async function returnLater(lab: Lab, host: HostLayout): Promise<void> {
  const main = join(lab.checkout, 'deploy/dist/lab/main.js');
  await launch({
    argv: [process.execPath, main, 'bmc', host.name, 'up', '--after', String(RETURN_SECONDS)],
    env: chassisEnvironment(lab, host),
    pidFile: returnPidFileOf(host),
    logFile: join(host.dir, 'log/bmc.log'),
  });
}

/** Its host crashed: a device that hangs at the host's own power goes with it. */
export async function bmcAfterCrash(host: HostLayout): Promise<void> {
  if (bmcMode(host) === 'dies-with-host') await endDevice(deviceOf(host, 'bmc'));
}

export async function endBmc(host: HostLayout): Promise<void> {
  const returning = readRecord(returnPidFileOf(host));
  // The one that returns ends itself by doing so.
  if (returning?.pid !== process.pid && stateOf(returning) !== 'dead') await end(returning, 0);
  await endDevice(deviceOf(host, 'bmc'));
  await endDevice(deviceOf(host, 'bmc2'));
}
