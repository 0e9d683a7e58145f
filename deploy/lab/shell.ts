// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { LabError } from './errors.js';

export interface RunOptions {
  timeoutMs?: number;
  env?: NodeJS.ProcessEnv;
  cwd?: string;
}

export interface Outcome {
  /** 0 is success; -1 where the program could not be started or was ended by a signal. */
  code: number;
  stdout: string;
  stderr: string;
}

const outputLimitBytes = 16 * 1024 * 1024;

/** Runs a program to its end, or kills it at its time limit (30 s unless told). Never throws. */
export function attempt(program: string, args: readonly string[], options: RunOptions = {}): Promise<Outcome> {
  return new Promise((resolve) => {
    execFile(
      program,
      args,
      {
        timeout: options.timeoutMs ?? 30_000,
        killSignal: 'SIGKILL',
        maxBuffer: outputLimitBytes,
        env: options.env ?? process.env,
        cwd: options.cwd ?? '/',
      },
      (error, stdout, stderr) => {
        const code = error === null ? 0 : typeof error.code === 'number' ? error.code : -1;
        resolve({ code, stdout, stderr: stderr === '' && error !== null ? error.message : stderr });
      },
    );
  });
}

/** Runs a program and returns what it printed; throws a LabError with its words if it fails. */
export async function run(program: string, args: readonly string[], options: RunOptions = {}): Promise<string> {
  const { code, stdout, stderr } = await attempt(program, args, options);
  if (code !== 0) throw new LabError(`${[program, ...args].join(' ')} failed: ${stderr.trim()}`);
  return stdout;
}

/**
 * Asks `probe` again and again until it has nothing more to wait for.
 *
 * @param probe - what is still missing, or undefined when nothing is; it throws where waiting makes no sense
 */
export async function until(what: string, limitMs: number, probe: () => Promise<string | undefined>): Promise<void> {
  const deadline = performance.now() + limitMs;
  let pauseMs = 10;
  for (;;) {
    const missing = await probe();
    if (missing === undefined) return;
    if (performance.now() >= deadline) {
      throw new LabError(`${what}: not within ${(limitMs / 1000).toFixed(0)} s: ${missing}`);
    }
    await sleep(pauseMs);
    pauseMs = Math.min(pauseMs * 2, 200);
  }
}
