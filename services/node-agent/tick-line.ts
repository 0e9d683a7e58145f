// SPDX-License-Identifier: Apache-2.0
import { NodeConditionType, type Node } from '@lockstep/sdk/v1';
import type { LogFields } from '../platform/log/log.js';

const GIB = 1024 ** 3;

/** The one line that a tick writes: how many VMs, how much memory, what load, and what is wrong. */
export function tickLine({ figures, ready, notReadyReason, conditions }: Node): [message: string, fields: LogFields] {
  const { vmsRunning = 0, vmsTotal = 0, memory, cpu } = figures ?? {};
  const usedGib = gib(memory?.usedBytes);
  const totalGib = gib(memory?.totalBytes);
  const load = cpu?.load ?? 0;
  const held = conditions.map(({ type }) => nameOf(type));
  const health = ready ? (held.length === 0 ? 'healthy' : held.join(', ')) : `not ready: ${notReadyReason}`;
  const message =
    `${String(vmsRunning)} of ${String(vmsTotal)} VMs run, ${usedGib} of ${totalGib} GiB used, ` +
    `load ${load.toFixed(2)}, ${health}`;
  return [message, { ready, conditions: held }];
}

function gib(bytes: bigint | undefined): string {
  return (Number(bytes ?? 0n) / GIB).toFixed(1);
}

function nameOf(condition: NodeConditionType): string {
  return Object.entries(NodeConditionType).find(([, value]) => value === condition)?.[0] ?? 'UNRECOGNIZED';
}
