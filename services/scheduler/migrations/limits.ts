// SPDX-License-Identifier: Apache-2.0
import type { TransferLimits } from '@lockstep/sdk/v1';
import { durationOf, milliseconds } from '../../core/duration.js';
import { firstDowntimeMs, type ConvergenceLimits } from '../../core/migration/convergence.js';
import type { OpenMigration } from './journal.js';

const DEFAULT_PAUSE_BUDGET_MS = 300;
/** Nothing in the hypervisor ends a transfer that does not converge. */
const DEFAULT_DEADLINE_MS = 30 * 60_000;

/** What one live move may cost: what was asked for with it, then what its VM says, then the defaults. */
export function convergenceLimits({ migration: { record }, vm }: OpenMigration): ConvergenceLimits {
  const { pauseBudget, migrationLimits, allowPostCopy = false } = vm.record.spec ?? {};
  return {
    pauseBudgetMs: milliseconds(pauseBudget, DEFAULT_PAUSE_BUDGET_MS),
    deadlineMs: milliseconds(record.transferDeadline ?? migrationLimits?.deadline, DEFAULT_DEADLINE_MS),
    autoConverge: migrationLimits?.autoConverge ?? true,
    postCopy: allowPostCopy,
  };
}

/** The same as the agents are told; the allowed downtime grows from its first step as it must. */
export function transferLimits(open: OpenMigration): TransferLimits {
  const limits = convergenceLimits(open);
  return {
    bandwidthBytesPerSecond: bandwidthLimit(open),
    maxDowntime: durationOf(firstDowntimeMs(limits)),
    autoConverge: limits.autoConverge,
    postCopy: limits.postCopy,
  };
}

/** In bytes per second; 0: none. */
export function bandwidthLimit({ migration: { record }, vm }: OpenMigration): bigint {
  const asked = record.bandwidthLimitBytesPerSecond;
  return asked === 0n ? (vm.record.spec?.migrationLimits?.bandwidthBytesPerSecond ?? 0n) : asked;
}
