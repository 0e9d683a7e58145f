// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { existsSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { LabError } from './errors.js';
import { readIfThere, writeWhole } from './files.js';
import type { HostLayout, Lab } from './layout.js';
import { namespaceExists } from './network.js';
import { run, until } from './shell.js';
import { launch, readRecord, signalPid, stateOf, type ProcessRecord } from './supervise.js';

const holderPidFile = (host: HostLayout) => join(host.dir, 'pids/host');
const powerFile = (host: HostLayout) => join(host.dir, 'power');

export const pidFileOf = (host: HostLayout, part: string) => join(host.dir, 'pids', part);
export const logFileOf = (host: HostLayout, part: string) => join(host.dir, 'log', `${part}.log`);

export function isPoweredOn(host: HostLayout): boolean {
  return readIfThere(powerFile(host))?.trim() === '1';
}

export function setPower(host: HostLayout, on: boolean): void {
  writeWhole(powerFile(host), on ? '1\n' : '0\n');
}

/** The process that holds the host's namespaces open; undefined when the host is not booted. */
function holderOf(host: HostLayout): ProcessRecord | undefined {
  const record = readRecord(holderPidFile(host));
  return stateOf(record) === 'dead' ? undefined : record;
}

export const isBooted = (host: HostLayout) => holderOf(host) !== undefined;

/** The words before a command that make it run inside the host. */
export function inside(host: HostLayout): string[] {
  const holder = holderOf(host);
  if (holder === undefined) throw new LabError(`${host.name} is not running`, `npm run lab -- start ${host.name}`);
  return ['nsenter', '--target', String(holder.pid), '--mount', '--uts', '--net', '--wd=/', '--'];
}

/** Brings the host up to the point where its parts can start. What it kept in /run is gone, as after any boot. */
export async function boot(lab: Lab, host: HostLayout): Promise<void> {
  if (!isPoweredOn(host)) throw new LabError(`${host.name} is powered off`, `npm run lab -- power ${host.name} on`);
  if (isBooted(host)) return;
  // A host whose first process died may have left others, which would hold its ports and images.
  await killEverything(host);
  rmSync(join(host.dir, 'run'), { recursive: true, force: true });
  rmSync(join(host.dir, 'pids'), { recursive: true, force: true });
  for (const folder of [
    'run/libvirt',
    'run/lock',
    'libvirt/etc',
    'libvirt/lib',
    'libvirt/cache',
    'libvirt/log/serial',
  ]) {
    mkdirSync(join(host.dir, folder), { recursive: true });
  }
  writeWhole(join(host.dir, 'run/boot_id'), `${randomUUID()}\n`, 0o444);
  const names = lab.hosts.map((each) => `${each.addresses.a} ${each.name}`);
  writeWhole(join(host.dir, 'hosts'), ['127.0.0.1 localhost', ...names, ''].join('\n'), 0o644);
  const record = await launch({
    argv: [
      ...['ip', 'netns', 'exec', host.namespace, 'unshare', '--mount', '--uts', '--propagation', 'private'],
      ...['sh', join(lab.checkout, 'deploy/lab/host.sh'), host.name, host.dir],
    ],
    pidFile: holderPidFile(host),
    logFile: logFileOf(host, 'host'),
  });
  await until(`boot of ${host.name}`, 10_000, () => {
    if (stateOf(record) === 'dead') {
      throw new LabError(`${host.name} did not boot: ${readIfThere(logFileOf(host, 'host'))?.trim() ?? 'no log'}`);
    }
    return Promise.resolve(existsSync(join(host.dir, 'run/booted')) ? undefined : 'its mounts are not made');
  });
}

/** Every process in the host, whoever started it. */
export async function processesOf(host: HostLayout): Promise<number[]> {
  if (!(await namespaceExists(host))) return [];
  return (await run('ip', ['netns', 'pids', host.namespace])).split('\n').filter(Boolean).map(Number);
}

/** Ends every process of the host at once, as a crash or a power cut does. */
export async function killEverything(host: HostLayout): Promise<void> {
  await until(`end of everything in ${host.name}`, 10_000, async () => {
    const pids = await processesOf(host);
    for (const pid of pids) signalPid(pid, 'SIGKILL');
    return pids.length === 0 ? undefined : `still there: ${pids.join(' ')}`;
  });
}
