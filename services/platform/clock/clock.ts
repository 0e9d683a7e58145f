// SPDX-License-Identifier: Apache-2.0

/** A timer that was started; stopping one that has fired or was stopped already does nothing. */
export interface Timer {
  stop(): void;
}

/**
 * Time as the services see it. Durations and deadlines are judged by `nowMs` alone; `wallTime` is for people
 * and never takes part in a decision.
 */
export interface Clock {
  /** Milliseconds of a monotonic clock with an arbitrary start; comparable only within one process. */
  nowMs(): number;
  wallTime(): Date;
  /** Calls `fire` once after `delayMs`. The timer keeps the process alive. */
  after(delayMs: number, fire: () => void): Timer;
}

/** A wait ended because its time ran out. `what` names the wait for people, e.g. "Finish on h2". */
export class DeadlineExceeded extends Error {
  override readonly name = 'DeadlineExceeded';
  constructor(
    readonly what: string,
    readonly limitMs: number,
  ) {
    super(`${what}: no answer within ${String(limitMs)} ms`);
  }
}

/** A wait ended because its signal was aborted; `cause` is the signal's reason. */
export class Cancelled extends Error {
  override readonly name = 'Cancelled';
  constructor(what: string, cause: unknown) {
    super(`${what}: cancelled`, { cause });
  }
}

/** Waits `delayMs`; rejects with {@link Cancelled} as soon as the signal aborts. */
export function sleep(clock: Clock, delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(new Cancelled('sleep', signal.reason));
      return;
    }
    const onAbort = (): void => {
      timer.stop();
      reject(new Cancelled('sleep', signal?.reason));
    };
    const timer = clock.after(delayMs, () => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    });
    signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** What {@link withDeadline} is told about the wait. */
export interface DeadlineOptions {
  /** Names the wait in the error. */
  what: string;
  limitMs: number;
  /** Aborting it ends the wait with {@link Cancelled}. */
  signal?: AbortSignal | undefined;
}

/**
 * Runs `work` with a signal that aborts when the limit passes or the caller's signal aborts, and settles at that
 * moment whether or not `work` listens. Signals are linked and unlinked by hand: `AbortSignal.any` and
 * `AbortSignal.timeout` on a long-lived signal leak on Node 20.
 */
export function withDeadline<T>(
  clock: Clock,
  { what, limitMs, signal }: DeadlineOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    if (signal?.aborted === true) {
      reject(new Cancelled(what, signal.reason));
      return;
    }
    const inner = new AbortController();
    const unlink = (): void => {
      timer.stop();
      signal?.removeEventListener('abort', onAbort);
    };
    const fail = (error: Error): void => {
      unlink();
      reject(error);
      inner.abort(error);
    };
    const onAbort = (): void => {
      fail(new Cancelled(what, signal?.reason));
    };
    const timer = clock.after(limitMs, () => {
      fail(new DeadlineExceeded(what, limitMs));
    });
    signal?.addEventListener('abort', onAbort, { once: true });
    const running = async (): Promise<T> => work(inner.signal);
    running().then(
      (value) => {
        unlink();
        resolve(value);
      },
      (error: unknown) => {
        unlink();
        reject(error instanceof Error ? error : new Error(String(error)));
      },
    );
  });
}
