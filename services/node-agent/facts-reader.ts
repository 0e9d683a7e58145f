// SPDX-License-Identifier: Apache-2.0
import type { VmFacts } from '@lockstep/sdk/v1';
import { HypervisorError, type Domain } from '../platform/hypervisor/hypervisor.js';
import { CALL_MS } from './config.js';
import { vmFacts, type TransferKnowledge } from './facts.js';
import type { OrderedVm } from './orders.js';
import type { AgentParts } from './parts.js';

/** Gathers what the facts of a VM are made of. Runs in the VM's queue, so that no order changes them meanwhile. */
export class FactsReader {
  /** Set by the source's role, which alone knows of transfers. */
  knowledge: (vmId: string) => Promise<TransferKnowledge> = () => Promise.resolve({ kind: 'none' });

  constructor(private readonly parts: AgentParts) {}

  async read({ vmId, migrationId, placementEpoch }: OrderedVm): Promise<VmFacts> {
    const { memory } = this.parts;
    const domain = await this.#domain(vmId);
    return vmFacts({
      migrationId,
      placementEpoch,
      domain,
      notes: memory.notes(vmId),
      transfer: domain === 'unreachable' ? { kind: 'none' } : await this.knowledge(vmId),
      finishing: migrationId !== '' && memory.isFinishing(vmId, migrationId),
      bootId: memory.bootId,
    });
  }

  /** A hypervisor that does not answer is a fact of its own, not an error. */
  async #domain(vmId: string): Promise<Domain | undefined | 'unreachable'> {
    try {
      return await this.parts.env.hypervisor.find(vmId, { deadlineMs: CALL_MS.read });
    } catch (error) {
      if (error instanceof HypervisorError) return 'unreachable';
      throw error;
    }
  }
}
