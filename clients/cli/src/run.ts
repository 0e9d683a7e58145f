// SPDX-License-Identifier: Apache-2.0
import type { Lockstep } from '@lockstep/sdk';
import { ApiError } from '@lockstep/sdk/errors';
import type { Command } from 'commander';
import { findCluster, openCluster, type Whereabouts } from './cluster.js';
import { CommandError, ExitCode, exitCodeOf } from './exit.js';
import { Printer, type Format } from './output/print.js';
import { painterFor, printable } from './output/style.js';
import type { Terminal } from './terminal.js';

/** Options that every command takes. */
export interface GlobalOptions extends Whereabouts {
  output: Format;
  headers: boolean;
  /** Limit of one call in milliseconds. */
  deadline: number;
}

/** What a command works with. */
export interface Work {
  cluster: Lockstep;
  printer: Printer;
  terminal: Terminal;
}

export function printerOf(command: Command, terminal: Terminal): Printer {
  const options = command.optsWithGlobals<GlobalOptions>();
  return new Printer(terminal, options.output, options.headers);
}

/** Opens the cluster that the command line means, does the work, and closes it again. */
export async function withCluster(
  terminal: Terminal,
  command: Command,
  work: (work: Work) => Promise<void>,
): Promise<void> {
  const options = command.optsWithGlobals<GlobalOptions>();
  const context = findCluster(options, terminal.env);
  const cluster = await openCluster(context, options.deadline);
  try {
    await work({ cluster, printer: printerOf(command, terminal), terminal });
  } catch (error) {
    throw isUnreachable(error) ? nobodyAnswers(context.servers, error) : error;
  } finally {
    cluster.close();
  }
}

function isUnreachable(error: unknown): error is ApiError {
  return error instanceof ApiError && error.reason === 'SERVER_UNREACHABLE' && !error.answered;
}

/** gRPC's own words for it name no address that was asked for. */
function nobodyAnswers(servers: readonly string[], error: ApiError): CommandError {
  const why = error.message.replace(/\s*Resolution note:\s*$/, '');
  const message = `nobody answers at ${servers.join(', ')}: ${why}`;
  const exitCode = ExitCode.UNAVAILABLE;
  return new CommandError(exitCode, error.reason, message, nextAfter(exitCode), { cause: error });
}

/** Tells the user of a failure: a sentence, its reason code, the next command. Returns the exit code. */
export function report(error: unknown, terminal: Terminal): ExitCode {
  const failure = toFailure(error);
  const paint = painterFor(terminal.errIsTty, terminal.env);
  const colour = failure.exitCode === ExitCode.DETACHED ? 'yellow' : 'red';
  const lines = [`${paint('lockstep:', colour)} ${printable(failure.message)}`];
  lines.push(`  reason: ${printable(failure.reason)}`);
  if (failure.next !== '') lines.push(`  next:   ${printable(failure.next)}`);
  terminal.err(`${lines.join('\n')}\n`);
  return failure.exitCode;
}

function toFailure(error: unknown): CommandError {
  if (error instanceof CommandError) return error;
  if (error instanceof ApiError) {
    const exitCode = exitCodeOf(error);
    const next = error.hint === '' ? nextAfter(exitCode) : error.hint;
    return new CommandError(exitCode, error.reason, error.message, next);
  }
  const message = error instanceof Error ? error.message : String(error);
  return new CommandError(ExitCode.FAILED, 'INTERNAL', message, 'lockstep version');
}

/** What helps where the service named nothing better. */
function nextAfter(exitCode: ExitCode): string {
  switch (exitCode) {
    case ExitCode.UNAVAILABLE:
      return 'lockstep cluster status --server HOST:PORT';
    case ExitCode.UNCERTAIN:
      return 'lockstep migration list --open';
    case ExitCode.USAGE:
      return 'lockstep help';
    default:
      return 'lockstep cluster status';
  }
}
