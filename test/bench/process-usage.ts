// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';

/** The kernel's unit of processor time on every machine that Linux runs on today. */
const TICKS_PER_SECOND = 100;

/** Processor time that a process used, and its ended children, in seconds. */
export function cpuSecondsOf(pid: number): { own: number; children: number } {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ').map(Number);
  const [user = 0, system = 0, childUser = 0, childSystem = 0] = fields.slice(11, 15);
  return { own: (user + system) / TICKS_PER_SECOND, children: (childUser + childSystem) / TICKS_PER_SECOND };
}

/** Resident memory of a process in MiB. */
export function residentMibOf(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1];
  return Number(kib ?? 0) / 1024;
}

/** How much of the machine's processors was in use between two looks, from 0 to 1. */
export function watchMachine(): () => number {
  const look = (): { idle: number; all: number } => {
    const fields = (readFileSync('/proc/stat', 'utf8').split('\n')[0] ?? '').trim().split(/\s+/).slice(1).map(Number);
    const idle = (fields[3] ?? 0) + (fields[4] ?? 0);
    return { idle, all: fields.slice(0, 8).reduce((sum, each) => sum + each, 0) };
  };
  const before = look();
  return () => {
    const now = look();
    return 1 - (now.idle - before.idle) / Math.max(1, now.all - before.all);
  };
}
