// SPDX-License-Identifier: Apache-2.0
import { LockstepError } from '../core/errors/catalogue.js';
import type { Domain, Hypervisor } from '../platform/hypervisor/hypervisor.js';
import { CALL_MS } from './config.js';
import { isActive, runsVcpus } from './domain-states.js';
import { asLockstepError } from './hypervisor-errors.js';

/** The domain as it is at this moment; fails with HYPERVISOR_DOWN or DEADLINE. */
export async function findCopy(hypervisor: Hypervisor, vmId: string): Promise<Domain | undefined> {
  try {
    return await hypervisor.find(vmId, { deadlineMs: CALL_MS.read });
  } catch (error) {
    throw asLockstepError(error, 'looking for the domain');
  }
}

/** Whether a domain is a copy that an order with this placement epoch is about. */
export function isAtMost({ placementEpoch }: Domain, orderedEpoch: bigint): boolean {
  return placementEpoch !== undefined && placementEpoch <= orderedEpoch;
}

/**
 * Removes what is left of a copy with this placement epoch or a lower one: its process, its definition. Never one whose
 * vCPUs run: then it fails with VM_RUNNING.
 */
export async function removeStandingCopy(hypervisor: Hypervisor, vmId: string, upToEpoch: bigint): Promise<void> {
  const domain = await findCopy(hypervisor, vmId);
  if (domain === undefined || !isAtMost(domain, upToEpoch)) return;
  if (runsVcpus(domain.state)) throw runs(vmId);
  try {
    if (isActive(domain.state)) await hypervisor.destroy(vmId, { deadlineMs: CALL_MS.destroy });
    await hypervisor.undefine(vmId, { deadlineMs: CALL_MS.define });
  } catch (error) {
    throw asLockstepError(error, 'removing the copy');
  }
}

export function runs(vmId: string): LockstepError {
  return new LockstepError('VM_RUNNING', 'its vCPUs run here; it is not destroyed', { vm: vmId });
}
