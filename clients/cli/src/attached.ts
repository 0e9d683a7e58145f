// SPDX-License-Identifier: Apache-2.0
import { ApiError } from '@lockstep/sdk/errors';
import { CommandError, ExitCode, exitCodeOf } from './exit.js';
import { formatMs } from './output/units.js';
import type { Terminal } from './terminal.js';

/** Stops a wait early, with what the user is told then. */
export type Stop = (why: CommandError) => void;

export interface WaitLimits {
  timeoutMs: number;
  /** What goes on after the command let go, as a clause: "the migration goes on". */
  goesOn: string;
  /** How to come back to it. */
  next: string;
}

/**
 * Waits for something that goes on without us. Ctrl-C and the limit let go of it, and so does `stop`; `wait` is given a
 * signal that ends it then. Throws what the user is told, with how to come back.
 */
export async function attached<T>(
  terminal: Terminal,
  { timeoutMs, goesOn, next }: WaitLimits,
  wait: (signal: AbortSignal, stop: Stop) => Promise<T>,
): Promise<T> {
  const controller = new AbortController();
  let stopped: CommandError | undefined;
  const stop: Stop = (why) => {
    stopped ??= why;
    controller.abort(why);
  };
  const forgetInterrupt = terminal.onInterrupt(() => {
    stop(new CommandError(ExitCode.DETACHED, 'DETACHED', `detached; ${goesOn}`, next));
  });
  const timer = setTimeout(() => {
    const message = `not there after ${formatMs(timeoutMs)}; ${goesOn}`;
    stop(new CommandError(ExitCode.UNAVAILABLE, 'WAIT_TIMEOUT', message, next));
  }, timeoutMs);
  try {
    return await wait(controller.signal, stop);
  } catch (error) {
    // What the wait rejects with once it was stopped says less than why it was.
    if (stopped !== undefined) throw stopped;
    if (error instanceof ApiError && exitCodeOf(error) === ExitCode.UNAVAILABLE) {
      throw new CommandError(ExitCode.UNAVAILABLE, error.reason, `lost sight of it: ${error.message}`, next);
    }
    throw error;
  } finally {
    clearTimeout(timer);
    forgetInterrupt();
  }
}

/** Loses its patience when something that may pass by itself has held for too long. */
export class Patience {
  #timer: NodeJS.Timeout | undefined;

  constructor(private readonly limitMs: number) {}

  /** Told at every look whether it holds; calls `lost` once it has held for the whole limit. */
  look(holds: boolean, lost: () => void): void {
    if (!holds) this.end();
    else this.#timer ??= setTimeout(lost, this.limitMs);
  }

  end(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
