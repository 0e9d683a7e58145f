// SPDX-License-Identifier: Apache-2.0
import { DrainState, type Drain } from '@lockstep/sdk/v1';
import { keys } from '../../core/records/keys.js';
import type { History } from '../../membership/history.js';
import type { Leading } from '../term.js';

/** Whether a drain has ended. */
export function hasEnded({ state }: Pick<Drain, 'state'>): boolean {
  return state === DrainState.DRAINED || state === DrainState.CANCELLED || state === DrainState.FAILED;
}

/** The drain of a node that has not ended; there is at most one. */
export function openDrainOf({ drains }: Pick<Leading, 'drains'>, node: string): Drain | undefined {
  return drains.all().find(({ record }) => record.node === node && !hasEnded(record))?.record;
}

/** What is kept of drains that have ended. */
export function drainHistory({ drains }: Pick<Leading, 'drains'>): History<Drain> {
  return {
    kind: 'drains',
    cache: drains,
    idOf: ({ id }) => id,
    keyOf: keys.drain,
    endedAt: (drain) => (hasEnded(drain) ? (drain.endTime ?? drain.createTime) : undefined),
    requestIdOf: ({ requestId }) => requestId,
    mostKept: 200,
    oldestKeptMs: 90 * 24 * 3_600_000,
  };
}
