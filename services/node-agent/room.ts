// SPDX-License-Identifier: Apache-2.0
import { withDeadline } from '../platform/clock/clock.js';
import { memoryRefusal } from './figures.js';
import type { RoomCheck } from './migration/target.js';
import type { AgentParts } from './parts.js';
import type { NodeView } from './view.js';

const HOST_LIMIT_MS = 1_000;
/** More than an incoming guest's process has of its own before any memory has come. */
const OWN_MEMORY_BYTES = 128n * 1024n * 1024n;

/**
 * Judges by the host's memory as it is now and by what is promised already. A vote is kept beyond its time while a
 * leader watches this node, as then it is the leader's to end, and where memory has come already.
 */
export function createRoomCheck({ env, config }: AgentParts, view: NodeView, leaderWatches: () => boolean): RoomCheck {
  return {
    async refusal(needBytes) {
      const { memory } = view.figures();
      const host = await withDeadline(env.clock, { what: 'host memory', limitMs: HOST_LIMIT_MS }, () => env.host.memory());
      return memoryRefusal({ ...memory, totalBytes: host.totalBytes }, needBytes, config.memoryReserveBytes ?? 0n);
    },
    keepsVote: (vmId) => leaderWatches() || (view.usage.get(vmId)?.memoryUsedBytes ?? 0n) > OWN_MEMORY_BYTES,
  };
}
