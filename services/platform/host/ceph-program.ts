// SPDX-License-Identifier: Apache-2.0
import { access } from 'node:fs/promises';
import { DeadlineExceeded, type Clock } from '../clock/clock.js';
import type { CallLimit } from '../hypervisor/hypervisor.js';
import { CannotRun, runProgram, type ProgramOutput } from '../process/run-program.js';
import { CephError } from './ceph.js';

export interface CephProgramOptions {
  clock: Clock;
  /** Without this file the host has no Ceph. */
  configFile: string;
  /** Whom to speak as; `admin`, as Ceph itself has it, unless told. */
  user?: string | undefined;
}

/** One call of a program of Ceph's. */
export interface CephQuestion {
  /** E.g. `ceph`, or its path. */
  program: string;
  words: readonly string[];
  /** After this it is killed, with all that it started. */
  limitMs: number;
  /** How it may end besides with 0. */
  alsoFine?: readonly number[];
}

const LONGEST_WORDS = 300;

/**
 * Runs one of Ceph's programs and returns what it printed. Fails with DeadlineExceeded, Cancelled, CannotRun with ENOENT
 * where the program is not there, and CephError with its last words.
 */
export async function runCeph(
  { clock, configFile, user = 'admin' }: CephProgramOptions,
  { program, words, limitMs: ownLimitMs, alsoFine = [] }: CephQuestion,
  { deadlineMs, signal }: CallLimit,
): Promise<string> {
  const options = words.findIndex((word) => word.startsWith('--'));
  const what = [program.split('/').at(-1) ?? program, ...words.slice(0, options < 0 ? words.length : options)].join(' ');
  const limitMs = Math.min(deadlineMs, ownLimitMs);
  let output: ProgramOutput;
  try {
    const argv = [program, '--conf', configFile, '--id', user, ...words];
    output = await runProgram(clock, argv, { deadlineMs: limitMs, signal });
  } catch (error) {
    if (error instanceof DeadlineExceeded) throw new DeadlineExceeded(`${what} (killed)`, limitMs);
    if (error instanceof CannotRun && error.code !== 'ENOENT') throw new CephError(error.message);
    throw error;
  }
  const { exitCode, stdout } = output;
  if (exitCode !== 0 && (exitCode === null || !alsoFine.includes(exitCode))) throw new CephError(`${what}: ${lastWords(output)}`);
  return stdout;
}

/** What it printed, as JSON. Fails with CephError where it is not. */
export function jsonOf(printed: string, what: string): unknown {
  try {
    return JSON.parse(printed);
  } catch {
    throw new CephError(`${what} said what is not JSON`);
  }
}

/** Whether this host has Ceph. */
export async function hasCeph({ configFile }: Pick<CephProgramOptions, 'configFile'>): Promise<boolean> {
  try {
    await access(configFile);
    return true;
  } catch {
    return false;
  }
}

function lastWords({ stderr, exitCode }: ProgramOutput): string {
  const words = stderr.trim().split('\n').at(-1) ?? '';
  return words === '' ? `it ended with ${String(exitCode)}` : words.slice(0, LONGEST_WORDS);
}
