// SPDX-License-Identifier: Apache-2.0
import { Status } from 'nice-grpc-common';
import { ApiError, toApiError } from './errors.js';

/** Waits `delayMs`; rejects with CANCELLED as soon as the signal aborts. */
export function wait(delayMs: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(new ApiError('cancelled by the caller', { reason: 'CANCELLED', code: Status.CANCELLED }));
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', onAbort);
      resolve();
    }, delayMs);
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener('abort', onAbort, { once: true });
  });
}

/** Options of the waits. */
export interface WaitOptions<T> {
  /** Aborting it ends the wait, not what is waited for. */
  signal?: AbortSignal;
  /** Called with every state that is seen, also repeated ones. */
  onUpdate?: (state: T) => void;
  /** How long nothing at all may be heard before the wait gives up, in milliseconds; 60,000 unless told. */
  patienceMs?: number;
}

const PATIENCE_MS = 60_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;

/**
 * Runs `attach` until it yields a result. Where the cluster cannot be reached in between, or has just no leader, it
 * attaches again; it gives up after `patienceMs` without news. `attach` calls `news` with whatever it hears.
 */
export async function untilResult<T, R>(
  { signal, onUpdate, patienceMs = PATIENCE_MS }: WaitOptions<T>,
  attach: (news: (state: T) => void) => Promise<R | undefined>,
): Promise<R> {
  let silentSinceMs: number | undefined;
  let pauseMs = FIRST_PAUSE_MS;
  const news = (state: T): void => {
    silentSinceMs = undefined;
    pauseMs = FIRST_PAUSE_MS;
    onUpdate?.(state);
  };
  for (;;) {
    try {
      const result = await attach(news);
      if (result !== undefined) return result;
    } catch (error) {
      const lost = toApiError(error);
      const mayPass = lost.code === Status.UNAVAILABLE || lost.code === Status.DEADLINE_EXCEEDED;
      if (!mayPass || signal?.aborted === true) throw lost;
      silentSinceMs ??= performance.now();
      if (performance.now() - silentSinceMs > patienceMs) throw lost;
    }
    await wait(pauseMs, signal);
    if (silentSinceMs !== undefined) pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  }
}
