// SPDX-License-Identifier: Apache-2.0
import { ClientError, type ClientMiddleware, Metadata, Status } from 'nice-grpc-common';

/** Limits of one call, beside nice-grpc's own `signal` and `metadata`. */
export interface CallLimits {
  /** Milliseconds. Unary calls have a default; streams have none unless told and then end by signal or keepalive. */
  deadlineMs?: number;
}

/** Starts a timer; the shape of a service's clock, so that services can hand in theirs. */
export type StartTimer = (delayMs: number, fire: () => void) => { stop(): void };

export const startSystemTimer: StartTimer = (delayMs, fire) => {
  const handle = setTimeout(fire, delayMs);
  return {
    stop: () => {
      clearTimeout(handle);
    },
  };
};

/** gRPC's wire format allows eight digits. */
const LONGEST_TIMEOUT_MS = 99_999_999;

/**
 * Ends a call with DEADLINE_EXCEEDED when its limit passes and tells the server the limit too, so that it stops working
 * for a caller who has left, and can pass on what is left of the time.
 */
export function deadlineMiddleware(startTimer: StartTimer, unaryDefaultMs: number): ClientMiddleware<CallLimits> {
  return async function* limited(call, options) {
    const { deadlineMs = call.responseStream ? undefined : unaryDefaultMs, ...rest } = options;
    if (deadlineMs === undefined || options.signal?.aborted === true) {
      return yield* call.next(call.request, rest);
    }
    const limitMs = Math.min(Math.max(Math.ceil(deadlineMs), 1), LONGEST_TIMEOUT_MS);
    const metadata = Metadata(options.metadata).set('grpc-timeout', `${String(limitMs)}m`);

    // Linked by hand: AbortSignal.any on a long-lived signal leaks on Node 20.
    const inner = new AbortController();
    const onAbort = (): void => {
      inner.abort();
    };
    options.signal?.addEventListener('abort', onAbort, { once: true });
    const expiry = { passed: false };
    const timer = startTimer(limitMs, () => {
      expiry.passed = true;
      inner.abort();
    });
    try {
      return yield* call.next(call.request, { ...rest, metadata, signal: inner.signal });
    } catch (error) {
      if (!expiry.passed) throw error;
      throw new ClientError(call.method.path, Status.DEADLINE_EXCEEDED, `no answer within ${String(limitMs)} ms`);
    } finally {
      timer.stop();
      options.signal?.removeEventListener('abort', onAbort);
    }
  };
}
