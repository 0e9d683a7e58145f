// SPDX-License-Identifier: Apache-2.0
import { spawn, type ChildProcess } from 'node:child_process';
import { withDeadline, type Clock } from '../clock/clock.js';
import type { CallLimit } from '../hypervisor/hypervisor.js';

/** What a program that ended left. */
export interface ProgramOutput {
  /** Null where a signal ended it. */
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

/** The program is not on this machine, or may not be run. */
export class CannotRun extends Error {
  override readonly name = 'CannotRun';
  constructor(
    readonly program: string,
    /** E.g. ENOENT. */
    readonly code: string,
  ) {
    super(`${program} cannot be run (${code})`);
  }
}

/** More than this of either output is thrown away. */
const MOST_OUTPUT_CHARACTERS = 8 * 1024 * 1024;

/**
 * Runs a program to its end, or to the call's limit: then it and every process that it started in its group are killed.
 * Rejects with DeadlineExceeded, Cancelled or CannotRun; how it ended is for the caller to judge.
 */
export async function runProgram(
  clock: Clock,
  argv: readonly string[],
  { deadlineMs, signal }: CallLimit,
  input = '',
): Promise<ProgramOutput> {
  const [program = '', ...args] = argv;
  return await withDeadline(clock, { what: program, limitMs: deadlineMs, signal }, async (inner) => {
    // A group of its own: a shell's children die with it.
    const child = spawn(program, args, { stdio: 'pipe', detached: true, env: { ...process.env, LC_ALL: 'C' } });
    const kill = (): void => {
      killGroup(child);
    };
    inner.addEventListener('abort', kill, { once: true });
    try {
      return await outputOf(child, program, input);
    } finally {
      inner.removeEventListener('abort', kill);
    }
  });
}

function killGroup({ pid }: ChildProcess): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, 'SIGKILL');
  } catch {
    // It ended in this moment.
  }
}

function outputOf(child: ChildProcess, program: string, input: string): Promise<ProgramOutput> {
  return new Promise((resolve, reject) => {
    const output: ProgramOutput = { exitCode: null, stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const) {
      child[stream]?.setEncoding('utf8').on('data', (text: string) => {
        if (output[stream].length < MOST_OUTPUT_CHARACTERS) output[stream] += text;
      });
    }
    child.once('error', (error: NodeJS.ErrnoException) => {
      reject(new CannotRun(program, error.code ?? 'unknown'));
    });
    child.once('close', (exitCode) => {
      resolve({ ...output, exitCode });
    });
    // A program that ends before it has read everything is judged by how it ended.
    child.stdin?.on('error', () => undefined);
    child.stdin?.end(input);
  });
}
