// SPDX-License-Identifier: Apache-2.0
import type { Refusal } from '@lockstep/sdk/v1';
import { LockstepError, type Reason } from '../core/errors/catalogue.js';
import { HypervisorError, type HypervisorErrorKind } from '../platform/hypervisor/hypervisor.js';

const REASONS: Record<HypervisorErrorKind, Reason> = {
  down: 'HYPERVISOR_DOWN',
  deadline: 'DEADLINE',
  gone: 'DOMAIN_NOT_FOUND',
  refused: 'HYPERVISOR_REFUSED',
  'no-job': 'TRANSFER_NOT_STARTED',
  aborted: 'CANCELLED',
  failed: 'HYPERVISOR_FAILED',
  invalid: 'HYPERVISOR_REFUSED',
  locked: 'STORAGE_LOCKED',
};

export function reasonOf({ kind }: HypervisorError): Reason {
  return REASONS[kind];
}

/** What the hypervisor said, as an error of the API; other errors stay what they are. */
export function asLockstepError(error: unknown, what: string): Error {
  if (error instanceof HypervisorError) {
    return new LockstepError(reasonOf(error), `${what}: ${error.message}`, {}, { cause: error });
  }
  return error instanceof Error ? error : new Error(String(error));
}

/** A failure as a vote. What the hypervisor refuses, it will refuse again. */
export function refusalOf(error: unknown): Refusal {
  if (error instanceof HypervisorError) {
    const permanent = error.kind === 'refused' || error.kind === 'invalid';
    return { reason: reasonOf(error), detail: error.message, permanent };
  }
  if (error instanceof LockstepError) return refused(error.reason, error.message);
  throw error;
}

export function refused(reason: Reason, detail: string, permanent = false): Refusal {
  return { reason, detail, permanent };
}
