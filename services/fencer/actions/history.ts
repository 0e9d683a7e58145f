// SPDX-License-Identifier: Apache-2.0
import { FenceActionState, type FenceAction } from '@lockstep/sdk/v1';
import { isFenceEnded } from '../../core/fencing/transitions.js';
import { keys } from '../../core/records/keys.js';
import type { History } from '../../membership/history.js';
import type { FencerLeading } from '../leading.js';

/**
 * What is kept of fence actions that have ended. One that proved a node off is kept for as long as that life of the node
 * is its last one: the node's record names it until the next joining, and restarts elsewhere rest on it.
 */
export function fenceActionHistory({ actions, streams }: Pick<FencerLeading, 'actions' | 'streams'>): History<FenceAction> {
  const isProofInUse = ({ node, incarnation, state }: FenceAction): boolean => {
    if (state !== FenceActionState.CONFIRMED) return false;
    return !streams.loaded() || streams.node(node)?.record.incarnation === incarnation;
  };
  return {
    kind: 'fence-actions',
    cache: actions,
    idOf: ({ id }) => id,
    keyOf: keys.fenceAction,
    endedAt: (action) =>
      isFenceEnded(action.state) && !isProofInUse(action) ? (action.endTime ?? action.createTime) : undefined,
    requestIdOf: ({ requestId }) => requestId,
    mostKept: 200,
    oldestKeptMs: 90 * 24 * 3_600_000,
  };
}
