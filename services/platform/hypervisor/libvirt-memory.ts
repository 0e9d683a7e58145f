// SPDX-License-Identifier: Apache-2.0
import { type CallOptions, type Connection, paramsToRecord, StatsFlag, StatsGroup } from '@lockstep/node-libvirt';
import { sleep, withDeadline, type Clock } from '../clock/clock.js';
import { runTool } from '../process/tool.js';
import { type CallLimit, HypervisorError, type MemoryUse } from './hypervisor.js';
import type { LibvirtLink } from './libvirt-link.js';

/** QEMU looks at some pages only, so that a second says little of a small guest; `measured` is libvirt's word for a result. */
const DIRTY_RATE = { seconds: 2, lookEveryMs: 100, measured: 2 };
const MAPPINGS_LIMIT_MS = 2_000;

export interface MeasuringParts {
  clock: Clock;
  control: LibvirtLink;
  /** Apart from `control`, because figures are what a frozen guest holds up. */
  figures: LibvirtLink;
}

/** What a running domain does with its memory: what it writes to by QEMU's word, what it ever touched by the kernel's. */
export async function measureMemory(parts: MeasuringParts, uuid: string, call: CallLimit): Promise<MemoryUse> {
  const { clock, control } = parts;
  const memoryBytes = await control.run('memoryUse', call, async ({ jobs, domains }, options) => {
    const domain = await domains.lookupByUuid(uuid, options);
    await jobs.startDirtyRateCalc(domain, DIRTY_RATE.seconds, 0, options);
    return (await domains.info(domain, options)).maxMemoryBytes;
  });
  const beganMs = clock.nowMs();
  const before = await touchedMemory(parts, uuid, memoryBytes, call.signal);
  const sampled = await awaitDirtyRate(parts, uuid, call);
  const touchedBytes = await touchedMemory(parts, uuid, memoryBytes, call.signal);
  if (before === undefined || touchedBytes === undefined) return { dirtyRateBytesPerSecond: sampled, touchedBytes };
  // What it touched for the first time it wrote to: of a guest that fills its memory that tells more than QEMU's samples.
  const grown = BigInt(Math.round(Number(touchedBytes - before) / ((clock.nowMs() - beganMs) / 1000)));
  return { dirtyRateBytesPerSecond: grown > sampled ? grown : sampled, touchedBytes };
}

async function awaitDirtyRate({ clock, figures }: MeasuringParts, uuid: string, call: CallLimit): Promise<bigint> {
  const untilMs = clock.nowMs() + call.deadlineMs;
  for (;;) {
    await sleep(clock, DIRTY_RATE.lookEveryMs, call.signal);
    const left = { ...call, deadlineMs: Math.max(1, untilMs - clock.nowMs()) };
    const rate = await figures.run('dirtyRate', left, (connection, options) => readDirtyRate(connection, uuid, options));
    if (rate !== undefined) return rate;
    if (clock.nowMs() >= untilMs) throw new HypervisorError('deadline', `the dirty rate of ${uuid} was not measured in time`);
  }
}

/** Undefined while it is being measured. */
async function readDirtyRate({ domains }: Connection, uuid: string, options: CallOptions): Promise<bigint | undefined> {
  const domain = await domains.lookupByUuid(uuid, options);
  const [stats] = await domains.allStats({ domains: [domain], groups: StatsGroup.DIRTY_RATE, flags: StatsFlag.NOWAIT }, options);
  const figures = paramsToRecord(stats?.params ?? []);
  const mib = figures['dirtyrate.megabytes_per_second'];
  if (Number(figures['dirtyrate.calc_status']) !== DIRTY_RATE.measured || mib === undefined) return undefined;
  return BigInt(Math.round(Number(mib))) * 2n ** 20n;
}

/**
 * The mappings that a guest's QEMU can write to, with their sizes. A program of its own asks: whoever reads of a process
 * that hangs in its storage hangs with it, and a program can be killed then.
 */
const WRITABLE_MAPPINGS = [
  'for file in $(grep -ls -- "$1" /proc/[0-9]*/cmdline); do',
  'tr "\\0" "\\n" <"$file" | grep -qxF -- -uuid || continue;',
  `awk '/^[0-9a-f]+-/ { writable = $2 ~ /^rw-/ } writable && /^([0-9a-f]+-|Size:|Rss:|Shared_Hugetlb:|Private_Hugetlb:)/'`,
  '"${file%cmdline}smaps"; exit; done',
].join(' ');

/**
 * What of its memory a guest has touched, in bytes. libvirt tells only what the whole process holds, of which a small
 * guest is the lesser part, so the kernel is asked for the mappings of its QEMU. Undefined where it does not tell.
 */
async function touchedMemory({ clock }: MeasuringParts, uuid: string, memoryBytes: bigint, signal?: AbortSignal): Promise<bigint | undefined> {
  const tool = { program: 'sh', args: ['-c', WRITABLE_MAPPINGS, 'sh', uuid], env: {} };
  const wait = { what: 'the mappings of a guest', limitMs: MAPPINGS_LIMIT_MS, signal };
  try {
    return touchedIn((await withDeadline(clock, wait, (inner) => runTool(tool, inner))).stdout, memoryBytes);
  } catch {
    // Nothing rests on it but a forecast.
    return undefined;
  }
}

/**
 * Of /proc/PID/smaps: a guest's memory lies in the largest mappings that can be written to and hold no code (what TCG
 * translates to lies in one that does). Undefined where all of them are smaller together than the guest's memory.
 */
export function touchedIn(smaps: string, memoryBytes: bigint): bigint | undefined {
  const mappings = smaps
    .split(/^(?=[0-9a-f]+-[0-9a-f]+ )/m)
    .map(mappingOf)
    .filter((mapping) => mapping !== undefined)
    .sort((a, b) => Number(b.sizeBytes - a.sizeBytes));
  let sizeBytes = 0n;
  let touchedBytes = 0n;
  for (const mapping of mappings) {
    sizeBytes += mapping.sizeBytes;
    touchedBytes += mapping.touchedBytes;
    if (sizeBytes >= memoryBytes) return touchedBytes;
  }
  return undefined;
}

/** Undefined for one that is no memory of a guest. */
function mappingOf(text: string): { sizeBytes: bigint; touchedBytes: bigint } | undefined {
  if (!/^\S+ rw-/.test(text)) return undefined;
  const bytesOf = (field: string): bigint => BigInt(new RegExp(`^${field}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1] ?? 0) * 1024n;
  // Huge pages of the kernel's pool are counted apart.
  const touchedBytes = bytesOf('Rss') + bytesOf('Shared_Hugetlb') + bytesOf('Private_Hugetlb');
  return { sizeBytes: bytesOf('Size'), touchedBytes };
}
