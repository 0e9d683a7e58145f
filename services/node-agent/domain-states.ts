// SPDX-License-Identifier: Apache-2.0
import { VmState } from '@lockstep/sdk/v1';
import type { Domain, DomainState } from '../platform/hypervisor/hypervisor.js';

/** Whether vCPUs run; a guest that is shutting down runs until it stands. */
export function runsVcpus({ state }: DomainState): boolean {
  return state === 'running' || state === 'shutting-down';
}

/** Whether there is a copy at all, running or paused. */
export function isActive({ state }: DomainState): boolean {
  return state !== 'off';
}

/** The domain alone, in the words of the API; what the agent knows besides is laid over it in reports. */
export function stateOf(domain: Domain | undefined, hypervisorDown = false): VmState {
  if (hypervisorDown) return VmState.UNKNOWN;
  if (domain === undefined) return VmState.UNSPECIFIED;
  switch (domain.state.state) {
    case 'running':
      return VmState.RUNNING;
    case 'paused':
      return VmState.PAUSED;
    case 'shutting-down':
      return VmState.STOPPING;
    case 'off':
      return domain.state.reason === 'crashed' || domain.state.reason === 'failed' ? VmState.CRASHED : VmState.STOPPED;
  }
}
