// SPDX-License-Identifier: Apache-2.0
import { LockstepError } from '../core/errors/catalogue.js';
import type { LeaderRoleName } from './leadership.js';

/** The leader epoch an agent knows when it refused this role's epoch as stale; undefined: the failure is another one. */
export function heardEpochOf(role: LeaderRoleName, error: unknown): bigint | undefined {
  if (!(error instanceof LockstepError) || error.reason !== 'STALE_EPOCH') return undefined;
  const { role: refused = role, leader_epoch: epoch = '' } = error.metadata;
  return refused === role && /^\d+$/.test(epoch) ? BigInt(epoch) : undefined;
}
