// SPDX-License-Identifier: Apache-2.0
import type { VmDesired, VmSpec } from '@lockstep/sdk/v1';
import { withPlacementEpoch, withUuid } from '../core/domain-xml/epoch.js';
import { shutdownLimitMs } from '../core/shutdown-limit.js';
import type { Wish } from './vm-step.js';

export const DEFAULT_MAX_RESTART = 1;

/** What a spec says, as a wish. */
export function wishOf(input: {
  vmId: string;
  desired: VmDesired;
  placementEpoch: bigint;
  spec: VmSpec | undefined;
  from: Wish['from'];
}): Wish {
  const { spec, vmId, desired, placementEpoch, from } = input;
  const xml = spec?.domainXml ?? '';
  return {
    desired,
    placementEpoch,
    xml: xml === '' ? undefined : withPlacementEpoch(withUuid(xml, vmId), placementEpoch),
    from,
    shutdownLimitMs: shutdownLimitMs(spec),
    maxRestart: spec?.maxRestart ?? DEFAULT_MAX_RESTART,
  };
}

