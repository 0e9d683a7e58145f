// SPDX-License-Identifier: Apache-2.0
import type { TransferLimits } from '@lockstep/sdk/v1';
import type { TransferSettings } from '../../platform/hypervisor/hypervisor.js';
import { milliseconds } from '../../core/duration.js';

/** The API's limits in the hypervisor's terms. */
export function settingsOf(limits: TransferLimits | undefined): TransferSettings {
  const bandwidth = limits?.bandwidthBytesPerSecond ?? 0n;
  return {
    bandwidthBytesPerSecond: bandwidth === 0n ? undefined : bandwidth,
    maxDowntimeMs: limits?.maxDowntime === undefined ? undefined : milliseconds(limits.maxDowntime, 0),
    autoConverge: limits?.autoConverge ?? false,
    postCopy: limits?.postCopy ?? false,
  };
}
