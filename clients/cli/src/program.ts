// SPDX-License-Identifier: Apache-2.0
import { Command, CommanderError, Option } from 'commander';
import { durationOption } from './arguments.js';
import { addClusterCommands } from './commands/cluster.js';
import { addCompletionCommands } from './commands/completion.js';
import { addDevCommand } from './commands/dev.js';
import { addDrainCommands } from './commands/drain.js';
import { addEventCommands } from './commands/events.js';
import { addFenceCommands } from './commands/fence.js';
import { addMigrationCommands } from './commands/migration.js';
import { addNetworkCommands } from './commands/network.js';
import { addNodeCommands } from './commands/node.js';
import { addVersionCommand, ownVersion } from './commands/version.js';
import { addVmCommands } from './commands/vm.js';
import { ExitCode, usageError } from './exit.js';
import { FORMATS } from './output/print.js';
import { report } from './run.js';
import type { Terminal } from './terminal.js';

const CALL_LIMIT = '15s';

const EXIT_CODES = `
Exit codes: 0 ok, 1 failed, 2 wrong usage, 3 not found, 4 precondition or conflict, 5 unavailable or timeout,
            6 failed and rolled back safely, 7 outcome uncertain: a person is needed, 130 detached`;

/** The command tree. `exitWith` takes the exit code of a program that a command ran. */
export function buildProgram(terminal: Terminal, exitWith: (exitCode: number) => void): Command {
  const program = new Command('lockstep')
    .description('Virtual machines on many hosts: placed, moved live and kept running')
    .option('--server <host:port,…>', 'any Scheduler of the cluster; else LOCKSTEP_SERVER, else the context file')
    .option('--context <name>', 'a cluster of the context file, instead of its current one')
    .option('--tls-ca <file>', "the servers' certificate authority, PEM")
    .option('--tls-cert <file>', 'our certificate, PEM')
    .option('--tls-key <file>', 'its key, PEM')
    .addOption(new Option('-o, --output <format>', 'format of the data on stdout').choices(FORMATS).default('table'))
    .option('--no-headers', 'tables without their first line')
    .addOption(durationOption('--deadline <duration>', 'limit of one call', CALL_LIMIT))
    .version(ownVersion(), '--version', 'print the version')
    .addHelpText('after', EXIT_CODES)
    .configureHelp({ showGlobalOptions: true })
    .configureOutput({
      writeOut: (text) => {
        terminal.out(text);
      },
      writeErr: (text) => {
        terminal.err(text);
      },
      // Told by report(), like every other failure.
      outputError: () => undefined,
    });

  addNodeCommands(program, terminal);
  addVmCommands(program, terminal);
  addMigrationCommands(program, terminal);
  addDrainCommands(program, terminal);
  addNetworkCommands(program, terminal);
  addClusterCommands(program, terminal);
  addEventCommands(program, terminal);
  addFenceCommands(program, terminal);
  addDevCommand(program, exitWith);
  addCompletionCommands(program, terminal);
  addVersionCommand(program, terminal);
  throwUsageErrors(program, 'lockstep');
  return program;
}

/** Help was shown although something else was asked for; it says all there is to say. */
class HelpShown extends Error {}

/** Makes every command throw instead of ending the process, with its own help as the next command. */
function throwUsageErrors(command: Command, path: string): void {
  command.exitOverride((error: CommanderError) => {
    if (error.exitCode === 0) throw error;
    if (error.code === 'commander.help') throw new HelpShown();
    throw usageError('USAGE', error.message.replace(/^error: /, '').replace(/\n/g, ' '), `${path} --help`);
  });
  for (const sub of command.commands) throwUsageErrors(sub, `${path} ${sub.name()}`);
}

/** Runs a command line, without the program's name, and returns its exit code. */
export async function runCommandLine(args: readonly string[], terminal: Terminal): Promise<number> {
  let exitCode: number = ExitCode.OK;
  const program = buildProgram(terminal, (code) => {
    exitCode = code;
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    return exitCode;
  } catch (error) {
    if (error instanceof HelpShown) return ExitCode.USAGE;
    if (error instanceof CommanderError) return ExitCode.OK;
    return report(error, terminal);
  }
}
