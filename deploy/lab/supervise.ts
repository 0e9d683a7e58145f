// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, rmSync } from 'node:fs';
import { dirname } from 'node:path';
import { messageOf } from './errors.js';
import { until } from './shell.js';

/** One process, named so that a process that later gets its number is never taken for it. */
export interface ProcessRecord {
  pid: number;
  /** Clock ticks from the machine's start to the process's own. */
  startTicks: string;
  bootId: string;
}

export type ProcessState = 'running' | 'stopped' | 'dead';

export interface Launch {
  argv: readonly string[];
  env?: Record<string, string>;
  pidFile: string;
  logFile: string;
}

/** The process writes its own record before it becomes the program: nothing runs that no file tells of. */
const launcher = [
  'printf "%s %s %s\\n" "$$" "$(cut -d" " -f22 /proc/$$/stat)" "$(cat /proc/sys/kernel/random/boot_id)" >"$0.new"',
  'mv "$0.new" "$0"',
  'exec "$@"',
].join(' && ');

function readText(file: string): string | undefined {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

export function readRecord(pidFile: string): ProcessRecord | undefined {
  const match = /^(\d+) (\d+) (\S+)\n$/.exec(readText(pidFile) ?? '');
  if (match === null) return undefined;
  const [, pid = '', startTicks = '', bootId = ''] = match;
  return { pid: Number(pid), startTicks, bootId };
}

function thisBoot(): string {
  return readText('/proc/sys/kernel/random/boot_id')?.trim() ?? '';
}

export function stateOf(record: ProcessRecord | undefined): ProcessState {
  if (record?.bootId !== thisBoot()) return 'dead';
  const stat = readText(`/proc/${record.pid}/stat`);
  // The second field is the program's name in brackets, with whatever it contains.
  const [state, ...fields] = stat?.slice(stat.lastIndexOf(')') + 2).split(' ') ?? [];
  if (state === undefined || state === 'Z' || state === 'X' || fields[18] !== record.startTicks) return 'dead';
  return state === 'T' || state === 't' ? 'stopped' : 'running';
}

/** Whether a process has ended; one that nobody has waited for yet has. */
export function isGone(pid: number): boolean {
  const stat = readText(`/proc/${pid}/stat`);
  return stat === undefined || /^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2));
}

/** Starts a program that outlives this one, and returns when its record is on disk. */
export async function launch({ argv, env, pidFile, logFile }: Launch): Promise<ProcessRecord> {
  mkdirSync(dirname(pidFile), { recursive: true });
  mkdirSync(dirname(logFile), { recursive: true });
  rmSync(pidFile, { force: true });
  const log = openSync(logFile, 'a');
  try {
    const child = spawn('/bin/sh', ['-c', launcher, pidFile, ...argv], {
      cwd: '/',
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...process.env, ...env },
    });
    let failure: string | undefined;
    child.on('error', (error) => (failure = messageOf(error)));
    child.unref();
    let record: ProcessRecord | undefined;
    await until(`start of ${argv.join(' ')}`, 5_000, () => {
      if (failure !== undefined) throw new Error(failure);
      record = readRecord(pidFile);
      return Promise.resolve(record?.pid === child.pid ? undefined : 'no pid file');
    });
    if (record === undefined) throw new Error('no pid file');
    return record;
  } finally {
    closeSync(log);
  }
}

/** Sends a signal to the process, if it is still the same one. Returns whether it was there. */
export function signal(record: ProcessRecord | undefined, name: NodeJS.Signals): boolean {
  if (record === undefined || stateOf(record) === 'dead') return false;
  return signalPid(record.pid, name);
}

/** Sends a signal to a process number; one that has ended meanwhile is no error. */
export function signalPid(pid: number, name: NodeJS.Signals): boolean {
  try {
    process.kill(pid, name);
    return true;
  } catch {
    return false;
  }
}

/** Asks a process to end, and ends it if it does not within `graceMs`. */
export async function end(record: ProcessRecord | undefined, graceMs: number): Promise<void> {
  const gone = () => Promise.resolve(stateOf(record) === 'dead' ? undefined : 'still there');
  if (graceMs > 0 && signal(record, 'SIGTERM')) {
    // A stopped process gets no other signal than these two.
    signal(record, 'SIGCONT');
    try {
      await until(`end of process ${record?.pid ?? 0}`, graceMs, gone);
      return;
    } catch {
      // It had its time.
    }
  }
  if (signal(record, 'SIGKILL')) await until(`end of process ${record?.pid ?? 0}`, 5_000, gone);
}
