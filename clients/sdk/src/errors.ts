// SPDX-License-Identifier: Apache-2.0
import { ClientError, Status } from 'nice-grpc-common';
import { type ErrorInfo, RichClientError } from 'nice-grpc-error-details';

/** gRPC's status codes by name, e.g. `NOT_FOUND`. */
export type StatusName = keyof typeof Status;

/** The domain of the reasons that Lockstep gives in google.rpc.ErrorInfo. */
export const ERROR_DOMAIN = 'lockstep';

/**
 * Reasons the client gives by itself, where no service gave one: nobody answered at the address, the call's limit
 * passed, the caller's signal was aborted.
 */
export type ClientReason = 'SERVER_UNREACHABLE' | 'DEADLINE' | 'CANCELLED';

/** Why an {@link ApiError} is what it is. */
export interface ApiErrorDetails {
  reason: string;
  code: Status;
  answered?: boolean;
  metadata?: Readonly<Record<string, string>>;
  hint?: string;
}

/** What every call of the SDK rejects with. */
export class ApiError extends Error {
  override readonly name = 'ApiError';
  /**
   * Reason code of Lockstep's catalogue, e.g. `VM_NOT_FOUND`, or a {@link ClientReason}; the status' name where a
   * server that is not Lockstep answered. Programs decide by it.
   */
  readonly reason: string;
  /** gRPC status code. */
  readonly code: Status;
  /** The same by name. */
  readonly status: StatusName;
  /** A Lockstep service gave the reason; false: the client concluded it from how the call ended. */
  readonly answered: boolean;
  /** What the error is about: `field`, `got`, `want`, `vm`, `node`, `migration` … */
  readonly metadata: Readonly<Record<string, string>>;
  /** The next command to run; empty where none helps. */
  readonly hint: string;

  constructor(message: string, details: ApiErrorDetails, options?: ErrorOptions) {
    super(message, options);
    const { reason, code, answered = false, metadata = {}, hint = '' } = details;
    this.reason = reason;
    this.code = code;
    this.status = Status[code] as StatusName;
    this.answered = answered;
    this.metadata = metadata;
    this.hint = hint;
  }
}

function isErrorInfo(detail: { $type: string }): detail is ErrorInfo {
  return detail.$type === 'google.rpc.ErrorInfo';
}

function fromStatus({ code }: ClientError): ApiErrorDetails {
  switch (code) {
    case Status.UNAVAILABLE:
      return { reason: 'SERVER_UNREACHABLE', code };
    case Status.CANCELLED:
      // Our own aborts arrive as AbortError: this one is a server that dropped the call on its way out.
      return { reason: 'SERVER_UNREACHABLE', code: Status.UNAVAILABLE };
    case Status.DEADLINE_EXCEEDED:
      return { reason: 'DEADLINE', code };
    default:
      return { reason: Status[code], code };
  }
}

/** grpc-js ends its sentence with a heading that mostly has nothing below it. */
function sentence(details: string): string {
  return details.replace(/\s*Resolution note:\s*$/, '');
}

function fromClientError(error: ClientError): ApiError {
  const info = error instanceof RichClientError ? error.extra.find(isErrorInfo) : undefined;
  if (info?.domain !== ERROR_DOMAIN) return new ApiError(sentence(error.details), fromStatus(error), { cause: error });
  const { reason } = info;
  const { hint = '', ...metadata } = info.metadata;
  return new ApiError(error.details, { reason, code: error.code, answered: true, metadata, hint }, { cause: error });
}

/** Whatever a call threw, as an {@link ApiError}; one that is an ApiError already is returned as it is. */
export function toApiError(error: unknown): ApiError {
  if (error instanceof ApiError) return error;
  if (error instanceof ClientError) return fromClientError(error);
  if (error instanceof Error && error.name === 'AbortError') {
    return new ApiError('cancelled by the caller', { reason: 'CANCELLED', code: Status.CANCELLED }, { cause: error });
  }
  const message = error instanceof Error ? error.message : String(error);
  return new ApiError(message, { reason: 'UNKNOWN', code: Status.UNKNOWN }, { cause: error });
}

export { Status };
