// SPDX-License-Identifier: Apache-2.0
import type { ApiError } from '@lockstep/sdk/errors';

/** What the command's exit code says, so that scripts can tell the kinds of failure apart. Never renumbered. */
export const ExitCode = {
  OK: 0,
  /** It failed, or ended otherwise than was asked for. */
  FAILED: 1,
  /** The command line or the input is wrong; nothing was sent or changed. */
  USAGE: 2,
  NOT_FOUND: 3,
  /** Something stands in the way: a precondition or a conflict. */
  PRECONDITION: 4,
  /** Nobody answers, or not in time. */
  UNAVAILABLE: 5,
  /** It failed and was undone: everything is as before. */
  ROLLED_BACK: 6,
  /** Nobody can tell how it ended; a person is needed. */
  UNCERTAIN: 7,
  /** The user let go with Ctrl-C; the work goes on. */
  DETACHED: 130,
} as const;
export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

/** A failure of the command itself: what the user is told, and with which exit code. */
export class CommandError extends Error {
  override readonly name = 'CommandError';
  constructor(
    readonly exitCode: ExitCode,
    /** Reason code, upper case with underscores. */
    readonly reason: string,
    /** A sentence. */
    message: string,
    /** The next command to run; empty where none helps. */
    readonly next = '',
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Wrong command line or input. */
export function usageError(reason: string, message: string, next = ''): CommandError {
  return new CommandError(ExitCode.USAGE, reason, message, next);
}

/** gRPC's status by name, as far as it tells exit codes apart. */
const EXIT_OF_STATUS: Readonly<Record<string, ExitCode>> = {
  INVALID_ARGUMENT: ExitCode.USAGE,
  OUT_OF_RANGE: ExitCode.USAGE,
  NOT_FOUND: ExitCode.NOT_FOUND,
  ALREADY_EXISTS: ExitCode.PRECONDITION,
  FAILED_PRECONDITION: ExitCode.PRECONDITION,
  ABORTED: ExitCode.PRECONDITION,
  RESOURCE_EXHAUSTED: ExitCode.PRECONDITION,
  UNAVAILABLE: ExitCode.UNAVAILABLE,
  DEADLINE_EXCEEDED: ExitCode.UNAVAILABLE,
};

/** Reasons that say more than their status: nobody knows what became of the request. */
const EXIT_OF_REASON: Readonly<Record<string, ExitCode>> = {
  OUTCOME_UNKNOWN: ExitCode.UNCERTAIN,
  FACTS_MISSING: ExitCode.UNCERTAIN,
  TWO_COPIES: ExitCode.UNCERTAIN,
};

/** The exit code for an error of the API. */
export function exitCodeOf(error: ApiError): ExitCode {
  return EXIT_OF_REASON[error.reason] ?? EXIT_OF_STATUS[error.status] ?? ExitCode.FAILED;
}
