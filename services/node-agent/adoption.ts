// SPDX-License-Identifier: Apache-2.0
import type { NodeAgentServiceAdoptVmResponse } from '@lockstep/sdk/v1';
import { liveObstacles } from '../core/domain-xml/live-obstacles.js';
import { parseDomainXml } from '../core/domain-xml/parse.js';
import { LockstepError } from '../core/errors/catalogue.js';
import type { Domain } from '../platform/hypervisor/hypervisor.js';
import { CALL_MS } from './config.js';
import { findCopy } from './copies.js';
import { isIncoming } from './facts.js';
import { asLockstepError } from './hypervisor-errors.js';
import type { OrderedVm } from './orders.js';
import type { AgentParts } from './parts.js';
import type { Reconciler } from './reconcile.js';
import { givenUp, stale, type VmOrders } from './vm-orders.js';

/** Takes domains that nobody manages under the cluster's care, without touching what runs. Runs in the VM's queue. */
export class Adoption {
  constructor(
    private readonly parts: AgentParts,
    private readonly reconciler: Reconciler,
    private readonly vmOrders: VmOrders,
    /** Lists the domains anew: no event of the hypervisor tells that one was adopted. */
    private readonly relist: () => Promise<void>,
  ) {}

  /** Checks everything first; with `validateOnly` that is all. Done where the domain carries the placement epoch. */
  async adopt(order: OrderedVm, validateOnly: boolean): Promise<NodeAgentServiceAdoptVmResponse> {
    const { vmId, placementEpoch } = order;
    const domain = await this.#adoptable(order);
    const { domainXml, obstacles } = await this.#read(vmId);
    if (!validateOnly && domain.placementEpoch !== placementEpoch) {
      await this.#stamp(order);
      this.reconciler.kick(vmId);
      void this.relist();
    }
    return { vm: this.vmOrders.report(vmId, { ...domain, placementEpoch }), domainXml, liveObstacles: obstacles };
  }

  async #adoptable(order: OrderedVm): Promise<Domain> {
    const { vmId, placementEpoch } = order;
    const { env, memory } = this.parts;
    const { floor, outgoing, armed } = memory.notes(vmId);
    if (placementEpoch <= floor) throw givenUp(order, floor);
    const domain = await findCopy(env.hypervisor, vmId);
    if (domain === undefined) throw new LockstepError('DOMAIN_NOT_FOUND', 'there is no such domain here', { vm: vmId });
    const moving = outgoing ?? (armed?.closed === false ? armed : undefined);
    if (moving !== undefined) {
      const message = `migration ${moving.migrationId} of this VM is open here`;
      throw new LockstepError('VM_LOCKED', message, { vm: vmId, migration: moving.migrationId });
    }
    if (isIncoming(domain)) throw new LockstepError('VM_LOCKED', 'somebody is moving it to this host', { vm: vmId });
    if (domain.placementEpoch !== undefined && domain.placementEpoch > placementEpoch) throw stale(order, domain);
    return domain;
  }

  async #read(vmId: string): Promise<{ domainXml: string; obstacles: string[] }> {
    const { hypervisor } = this.parts.env;
    const call = { deadlineMs: CALL_MS.read };
    try {
      const domainXml = await hypervisor.xml(vmId, 'inactive', call);
      // What libvirt takes and the cluster does not must be found before anything is changed.
      parseDomainXml(domainXml);
      return { domainXml, obstacles: liveObstacles(await hypervisor.xml(vmId, 'live', call)) };
    } catch (error) {
      throw asLockstepError(error, 'reading the domain');
    }
  }

  async #stamp({ vmId, placementEpoch }: OrderedVm): Promise<void> {
    const { hypervisor } = this.parts.env;
    const call = { deadlineMs: CALL_MS.define };
    try {
      // First: what carries an epoch is never started but by an order, or two hosts could run it (INV-1).
      await hypervisor.disableAutostart(vmId, call);
      await hypervisor.stampEpoch(vmId, placementEpoch, call);
    } catch (error) {
      throw asLockstepError(error, 'adopting the domain');
    }
  }
}
