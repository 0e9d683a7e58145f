// SPDX-License-Identifier: Apache-2.0
import { type ApiError, ERROR_DOMAIN, toApiError } from '@lockstep/sdk/errors';
import { Status } from 'nice-grpc-common';
import { ErrorInfo, RichServerError } from 'nice-grpc-error-details';
import { CATALOGUE, hintFor, isReason, LockstepError } from '../../core/errors/catalogue.js';
import { Cancelled } from '../clock/clock.js';

/** Error details travel in an HTTP/2 header block; these bounds keep it far below what a peer accepts. */
const LONGEST_MESSAGE = 4_096;
const LONGEST_VALUE = 1_024;

function clip(text: string, limit: number): string {
  return text.length <= limit ? text : `${text.slice(0, limit - 1)}…`;
}

/** A LockstepError as it goes over the wire: the catalogue's status, and google.rpc.ErrorInfo with reason and hint. */
export function toServerError(error: LockstepError): RichServerError {
  const hint = hintFor(error.reason, error.metadata);
  const entries = Object.entries(hint === '' ? error.metadata : { ...error.metadata, hint });
  const metadata = Object.fromEntries(entries.map(([key, value]) => [key, clip(value, LONGEST_VALUE)]));
  const info = ErrorInfo.fromPartial({ reason: error.reason, domain: ERROR_DOMAIN, metadata });
  return new RichServerError(Status[CATALOGUE[error.reason].status], clip(error.message, LONGEST_MESSAGE), [info]);
}

/** Errors of a peer that gave no reason of the catalogue: what its status means to us. */
function withoutReason(what: string, address: string, error: ApiError): LockstepError {
  const metadata = { address };
  switch (error.code) {
    case Status.UNAVAILABLE:
      return new LockstepError('NODE_UNREACHABLE', `${what}: no answer: ${error.message}`, metadata, { cause: error });
    case Status.DEADLINE_EXCEEDED:
      return new LockstepError('DEADLINE', `${what}: ${error.message}`, metadata, { cause: error });
    case Status.UNIMPLEMENTED:
      return new LockstepError('NOT_IMPLEMENTED', `${what}: not known there`, metadata, { cause: error });
    case Status.PERMISSION_DENIED:
    case Status.UNAUTHENTICATED:
      return new LockstepError('NOT_ALLOWED', `${what}: ${error.message}`, metadata, { cause: error });
    default: {
      const message = `${what}: ${error.status}: ${error.message}`;
      return new LockstepError('INTERNAL', message, metadata, { cause: error });
    }
  }
}

/**
 * What a call to a peer threw, as an error of ours: its own reason where it gave one, NODE_UNREACHABLE where nobody
 * answered, DEADLINE where the limit passed; {@link Cancelled} where our own signal was aborted.
 */
export function fromPeerError(
  what: string,
  address: string,
  error: unknown,
  signal: AbortSignal | undefined,
): LockstepError | Cancelled {
  if (signal?.aborted === true) return new Cancelled(what, signal.reason);
  const failure = toApiError(error);
  return failure.answered && isReason(failure.reason)
    ? new LockstepError(failure.reason, failure.message, failure.metadata, { cause: error })
    : withoutReason(what, address, failure);
}
