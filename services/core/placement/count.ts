// SPDX-License-Identifier: Apache-2.0
import type { Vm, VmReport } from '@lockstep/sdk/v1';
import type { MemorySize } from './hugepages.js';
import type { AssignedVm, PromisedVm } from './snapshot.js';

/** Where VMs are to be found: on record, and by the word of agents. */
export interface WhereVmsAre {
  records: readonly Vm[];
  /** What each node's agent last said, by the node's name. */
  reports: ReadonlyMap<string, Iterable<VmReport>>;
  /** Where VMs may be besides: a VM's own node counts once. */
  moves: readonly { vmId: string; target: string }[];
}

/**
 * What counts on which node. A VM on record counts where its placement is, whatever its state, and is promised where it
 * moves to; never on both without saying so. A copy that runs elsewhere takes that node's memory and counts there too.
 * A domain that nobody has on record counts where it was found.
 */
export function countVms({ records, reports, moves }: WhereVmsAre): { vms: AssignedVm[]; promises: PromisedVm[] } {
  const byId = new Map(records.map((vm) => [vm.id, vm]));
  const promises: PromisedVm[] = [];
  const isPromised = (id: string, node: string): boolean => promises.some((one) => one.id === id && one.node === node);
  for (const { vmId, target } of moves) {
    const vm = byId.get(vmId);
    if (vm === undefined || vm.placement?.node === target || isPromised(vmId, target)) continue;
    promises.push({ id: vmId, node: target, ...sizeOf(vm) });
  }

  const vms: AssignedVm[] = [];
  const seenAtHome = new Set<string>();
  for (const [node, found] of reports) {
    for (const { vmId: id, running, memoryBytes, vcpus } of found) {
      const vm = byId.get(id);
      if (vm === undefined) {
        vms.push({ id, node, memoryBytes, vcpus, running });
      } else if (vm.placement?.node === node) {
        seenAtHome.add(id);
        vms.push({ id, node, ...sizeOf(vm), running });
      } else if (running && !isPromised(id, node)) {
        vms.push({ id, node, ...sizeOf(vm), running });
      }
    }
  }
  for (const vm of records) {
    const node = vm.placement?.node ?? '';
    if (node !== '' && !seenAtHome.has(vm.id)) vms.push({ id: vm.id, node, ...sizeOf(vm), running: false });
  }
  return { vms, promises };
}

function sizeOf({ spec }: Vm): MemorySize & { vcpus: number } {
  return { memoryBytes: spec?.memoryBytes ?? 0n, vcpus: spec?.vcpus ?? 0, hugepages: spec?.hugepages ?? [] };
}
