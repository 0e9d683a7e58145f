// SPDX-License-Identifier: Apache-2.0
import { LockstepError } from '../core/errors/catalogue.js';
import type { LeaderRoleName } from './leadership.js';

/** The leader epoch an agent knows when it refused this role's epoch as stale; undefined: the failure is another one. */
export function heardEpochOf(role: LeaderRoleName, error: unknown): bigint | undefined {
  if (!(error instanceof LockstepError) || error.reason !== 'STALE_EPOCH') return undefined;
  if (error.metadata['role'] !== role) return undefined;
  const [, epoch] = /^at least (\d+)$/.exec(error.metadata['want'] ?? '') ?? [];
  return epoch === undefined ? undefined : BigInt(epoch);
}
