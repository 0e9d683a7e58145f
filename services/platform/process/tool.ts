// SPDX-License-Identifier: Apache-2.0
import { spawn, type ChildProcess } from 'node:child_process';

/** A program that is run for its answer. */
export interface Tool {
  program: string;
  args: readonly string[];
  /** Besides PATH and LC_ALL=C. */
  env: Readonly<Record<string, string>>;
  /** Written to its standard input; undefined: it has none. */
  input?: string | undefined;
}

export interface ToolOutput {
  /** Null where a signal ended it. */
  exitCode: number | null;
  stdout: string;
  stderr: string;
}

/** Far more than any answer has. */
const LARGEST_OUTPUT_CHARACTERS = 64 * 1024;

/**
 * Runs a program to its end. It is killed, its children with it, when the signal aborts. Rejects with the spawn's error,
 * which has a `code`, where it cannot be run.
 */
export async function runTool({ program, args, env, input }: Tool, signal: AbortSignal): Promise<ToolOutput> {
  // A group of its own: programs like fence agents start others, which would live on.
  const child = spawn(program, args, {
    stdio: [input === undefined ? 'ignore' : 'pipe', 'pipe', 'pipe'],
    env: { PATH: process.env['PATH'], LC_ALL: 'C', ...env },
    detached: true,
  });
  const kill = (): void => {
    if (child.pid === undefined) return;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      child.kill('SIGKILL');
    }
  };
  signal.addEventListener('abort', kill, { once: true });
  if (signal.aborted) kill();
  // It may end without having read what it is told.
  child.stdin?.on('error', () => undefined);
  child.stdin?.end(input);
  try {
    return await outputOf(child);
  } finally {
    signal.removeEventListener('abort', kill);
  }
}

function outputOf(child: ChildProcess): Promise<ToolOutput> {
  return new Promise((resolve, reject) => {
    const output: ToolOutput = { exitCode: null, stdout: '', stderr: '' };
    const gather = (stream: 'stdout' | 'stderr'): void => {
      child[stream]?.on('data', (chunk: Buffer) => {
        if (output[stream].length < LARGEST_OUTPUT_CHARACTERS) output[stream] += chunk.toString('latin1');
      });
    };
    gather('stdout');
    gather('stderr');
    child.once('error', reject);
    child.once('close', (exitCode) => {
      resolve({ ...output, exitCode });
    });
  });
}
