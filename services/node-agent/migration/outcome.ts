// SPDX-License-Identifier: Apache-2.0
import type { MigrationOutcome } from '@lockstep/sdk/v1';
import type { TransferStats } from '../../platform/hypervisor/hypervisor.js';
import { durationOf } from '../../core/duration.js';

/** What the hypervisor measured; the leader adds what only it can measure. */
export function outcomeOf({ downtimeMs, totalMs, memorySentBytes, iterations }: TransferStats): MigrationOutcome {
  return {
    downtime: downtimeMs === undefined ? undefined : durationOf(downtimeMs),
    gap: undefined,
    total: totalMs === undefined ? undefined : durationOf(totalMs),
    queued: undefined,
    memorySentBytes: memorySentBytes ?? 0n,
    iterations: iterations ?? 0,
  };
}
