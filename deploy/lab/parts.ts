// SPDX-License-Identifier: Apache-2.0
import { consul } from './consul.js';
import { LabError } from './errors.js';
import { readIfThere } from './files.js';
import { inside, logFileOf, pidFileOf } from './host.js';
import type { HostLayout, Lab } from './layout.js';
import { libvirtd } from './libvirtd.js';
import type { Part } from './part.js';
import { fencer, nodeAgent, scheduler } from './services.js';
import { until } from './shell.js';
import { end, isGone, launch, readRecord, signal, stateOf, type ProcessRecord, type ProcessState } from './supervise.js';

/** In the order of starting. */
const base: readonly Part[] = [consul, libvirtd];
const services: readonly Part[] = [nodeAgent, scheduler, fencer];
export const parts: readonly Part[] = [...base, ...services];

/** What stands on nothing first, then what stands on it. */
export const wantedGroups = (withServices: boolean) => (withServices ? [base, services] : [base]);

export function partNamed(name: string): Part {
  const part = parts.find((candidate) => candidate.name === name);
  if (part === undefined) {
    throw new LabError(
      `there is no part "${name}"`,
      `the parts are ${parts.map((each) => each.name).join(', ')}, and vm/NAME for a guest`,
    );
  }
  return part;
}

/** Freeing a guest's memory takes its time on a busy machine. */
const KILL_LIMIT_MS = 20_000;

const recordOf = (host: HostLayout, part: string): ProcessRecord | undefined => readRecord(pidFileOf(host, part));

export const partState = (host: HostLayout, part: Part): ProcessState => stateOf(recordOf(host, part.name));

/** Starts the part if it does not run. A stopped one goes on. Does not wait until it is ready. */
export async function startPart(lab: Lab, host: HostLayout, part: Part): Promise<void> {
  const record = recordOf(host, part.name);
  const state = stateOf(record);
  if (state === 'stopped') signal(record, 'SIGCONT');
  if (state !== 'dead') return;
  part.prepare(lab, host);
  await launch({
    argv: [...inside(host), ...part.argv(lab, host)],
    env: part.env?.(lab) ?? {},
    pidFile: pidFileOf(host, part.name),
    logFile: logFileOf(host, part.name),
  });
}

const lastLines = (text: string, count: number) => text.trimEnd().split('\n').slice(-count).join('\n');

/** Waits until the part does its work, and gives up at once when it has ended. */
export async function awaitPart(lab: Lab, host: HostLayout, part: Part): Promise<void> {
  await until(`${part.name} on ${host.name}`, part.readyLimitMs, () => {
    if (partState(host, part) === 'dead') {
      const log = readIfThere(logFileOf(host, part.name)) ?? '';
      throw new LabError(
        `${part.name} on ${host.name} ended:\n${lastLines(log, 12)}`,
        `npm run lab -- logs ${host.name} ${part.name}`,
      );
    }
    return part.missing(lab, host);
  });
}

export async function endPart(host: HostLayout, part: Part, graceMs = part.graceMs): Promise<void> {
  await end(recordOf(host, part.name), graceMs);
}

/** The process of a part, or of a guest's QEMU by `vm/NAME`. */
function processOf(host: HostLayout, name: string): number {
  if (!name.startsWith('vm/')) {
    const record = recordOf(host, partNamed(name).name);
    if (record === undefined || stateOf(record) === 'dead') throw new LabError(`${name} does not run on ${host.name}`);
    return record.pid;
  }
  const pid = Number(readIfThere(`${host.dir}/run/libvirt/qemu/${name.slice('vm/'.length)}.pid`));
  if (!Number.isSafeInteger(pid) || pid <= 0)
    throw new LabError(`no guest "${name.slice('vm/'.length)}" runs on ${host.name}`);
  return pid;
}

/** Stops a part or a guest wherever it is in its work, or lets it go on. */
export function signalPart(host: HostLayout, name: string, kind: 'SIGSTOP' | 'SIGCONT'): void {
  process.kill(processOf(host, name), kind);
}

/** Kills a part or a guest, and returns once it is dead: what starts it again then finds nothing of it. */
export async function killPart(host: HostLayout, name: string): Promise<void> {
  const pid = processOf(host, name);
  process.kill(pid, 'SIGKILL');
  await until(`end of ${name} on ${host.name}`, KILL_LIMIT_MS, () =>
    Promise.resolve(isGone(pid) ? undefined : `process ${pid} is still there`),
  );
}
