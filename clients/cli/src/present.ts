// SPDX-License-Identifier: Apache-2.0
import { CommandError, ExitCode } from './exit.js';

/** What an answer must hold. Throws where the service left it out. */
export function present<T>(value: T | undefined, what: string): T {
  if (value !== undefined) return value;
  throw new CommandError(ExitCode.FAILED, 'ANSWER_INCOMPLETE', `the answer holds no ${what}`, 'lockstep version');
}
