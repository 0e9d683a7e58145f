// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { ServerError, type ServerMiddleware } from 'nice-grpc-common';
import { isReason, LockstepError } from '../../core/errors/catalogue.js';
import { Cancelled, DeadlineExceeded } from '../clock/clock.js';
import type { Logger } from '../log/log.js';
import { callerOf } from './caller.js';
import { toServerError } from './errors.js';

/** What an error was, once nothing internal may be seen of it any more. */
function toLockstepError(error: unknown, path: string, log: Logger): LockstepError {
  if (error instanceof LockstepError && isReason(error.reason)) return error;
  if (error instanceof DeadlineExceeded) return new LockstepError('DEADLINE', error.message);
  if (error instanceof Cancelled) return new LockstepError('CANCELLED', error.message);
  const errorId = randomUUID();
  log.error(`${path} failed`, { errorId, error });
  return new LockstepError('INTERNAL', `internal error ${errorId}; the log of the service tells more`, { errorId });
}

function abortError(): Error {
  const error = new Error('the operation was aborted');
  error.name = 'AbortError';
  return error;
}

/** Turns what handlers throw into statuses with a reason; logs what no reason of the catalogue explains. */
export function errorMiddleware(log: Logger): ServerMiddleware {
  return async function* mapErrors(call, context) {
    try {
      return yield* call.next(call.request, context);
    } catch (error) {
      if (error instanceof ServerError) throw error;
      // The caller has left; nobody reads the status.
      if (context.signal.aborted) throw abortError();
      throw toServerError(toLockstepError(error, call.method.path, log));
    }
  };
}

/** Refuses callers that the guard throws for, before their request is looked at. */
export function guardMiddleware(guard: (peer: string) => void): ServerMiddleware {
  return async function* guarded(call, context) {
    guard(context.peer);
    return yield* call.next(call.request, context);
  };
}

/** One debug line per call: who, what, how it ended. */
export function logMiddleware(log: Logger): ServerMiddleware {
  return async function* logged(call, context) {
    log.debug(call.method.path, { caller: callerOf(context).name });
    return yield* call.next(call.request, context);
  };
}

/**
 * Ends streams when the service stops: a watch has no end of its own and would hold up a graceful stop. Its client gets
 * UNAVAILABLE with STOPPING and attaches elsewhere.
 */
export function stopMiddleware(stopping: AbortSignal): ServerMiddleware {
  return async function* stoppable(call, context) {
    if (!call.responseStream) return yield* call.next(call.request, context);
    const inner = new AbortController();
    const onAbort = (): void => {
      inner.abort();
    };
    context.signal.addEventListener('abort', onAbort, { once: true });
    stopping.addEventListener('abort', onAbort, { once: true });
    if (stopping.aborted || context.signal.aborted) onAbort();
    try {
      yield* call.next(call.request, { ...context, signal: inner.signal });
    } catch (error) {
      if (stopping.aborted && inner.signal.aborted) throw new LockstepError('STOPPING', 'the service is stopping');
      throw error;
    } finally {
      context.signal.removeEventListener('abort', onAbort);
      stopping.removeEventListener('abort', onAbort);
    }
    if (stopping.aborted) throw new LockstepError('STOPPING', 'the service is stopping');
    return;
  };
}
