// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { constants } from 'node:os';
import { fileURLToPath } from 'node:url';
import type { Command } from 'commander';
import { CommandError, ExitCode } from '../exit.js';

/** The program behind `lockstep dev`; it comes with the services, which the CLI does not depend on. */
const DEV_PROGRAM = '@lockstep/services/dev/main.js';

function findDevProgram(): string {
  try {
    const path = fileURLToPath(import.meta.resolve(DEV_PROGRAM));
    if (existsSync(path)) return path;
  } catch {
    // Not installed: told below, where the file of an installed package is missing as well.
  }
  throw new CommandError(
    ExitCode.FAILED,
    'DEV_NOT_INSTALLED',
    `lockstep dev needs the services, and ${DEV_PROGRAM} is not installed beside this program`,
    'npm install && npm run build',
  );
}

/** Adds `dev`, which runs another program; `exitWith` is told how that one ended. */
export function addDevCommand(program: Command, exitWith: (exitCode: number) => void): void {
  program
    .command('dev')
    .description('run a whole cluster in one process on simulated hypervisors, to try it out')
    .argument('[options...]', "options of the program; --help shows them")
    .allowUnknownOption()
    .helpOption(false)
    .action(async (_args: string[], _options: object, command: Command) => {
      exitWith(await runProgram(findDevProgram(), command.args));
    });
}

const PASSED_ON = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;

/**
 * Runs it in this process' place: same streams, its exit code; a signal counts as the shell counts it. It is in a
 * process group of its own, so that each signal reaches it once: from us, whether a terminal or a person sent it.
 */
async function runProgram(path: string, args: readonly string[]): Promise<number> {
  const child = spawn(process.execPath, [path, ...args], { stdio: 'inherit', detached: true });
  const passOn = (signal: NodeJS.Signals): void => void child.kill(signal);
  for (const signal of PASSED_ON) process.on(signal, passOn);
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => {
        resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal]));
      });
    });
  } finally {
    for (const signal of PASSED_ON) process.off(signal, passOn);
  }
}
