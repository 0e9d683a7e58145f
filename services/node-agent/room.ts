// SPDX-License-Identifier: Apache-2.0
import { withDeadline } from '../platform/clock/clock.js';
import { hostFigures, memoryRefusal } from './figures.js';
import type { RoomCheck } from './migration/target.js';
import type { NodeNetworks } from './networks.js';
import type { AgentParts } from './parts.js';
import type { NodeView } from './view.js';

/** The kernel answers at once; an agent that has only just begun, on a busy host, may not get to hear it for seconds. */
const HOST_LIMIT_MS = 10_000;

/**
 * Judges by the host's memory as it is now and by what is promised already. A vote is kept beyond its time while a
 * leader watches this node, as every leader does: then the vote is the leader's to end. libvirt does not tell a target
 * whether memory has begun to come, so time alone would cut off every long transfer.
 */
export function createRoomCheck(
  { env, config }: AgentParts,
  { view, networks, leaderWatches }: { view: NodeView; networks: NodeNetworks; leaderWatches: () => boolean },
): RoomCheck {
  return {
    async refusal(need) {
      const { memory } = view.figures();
      const host = await withDeadline(env.clock, { what: 'host memory', limitMs: HOST_LIMIT_MS }, () => env.host.memory());
      return memoryRefusal({ ...memory, ...hostFigures(host) }, need, config.memoryReserveBytes ?? 0n);
    },
    bridgesRefusal: (domainXml) => networks.refusal(domainXml),
    keepsVotes: leaderWatches,
  };
}
