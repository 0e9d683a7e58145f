// SPDX-License-Identifier: Apache-2.0
import { Selector, type ClusterOptions } from '@lockstep/sdk/v1';

/** What a node's agent measured. */
export interface NodeCapacity {
  memoryTotalBytes: bigint;
  /** What could be had right now without swapping. */
  memoryAvailableBytes: bigint;
  cpus: number;
  /** Load average over one minute. */
  load: number;
}

/** A node as placement sees it. */
export interface PlacementNode {
  name: string;
  ready: boolean;
  /** Why not, one sentence without a full stop; only read where it is not ready. */
  notReadyReason: string;
  /** Undefined: its agent has not said yet. */
  capacity: NodeCapacity | undefined;
  /** Bridges that a VM can be connected to there. Absent: its agent has not said. */
  bridges?: readonly string[] | undefined;
}

/** A VM that counts on a node, whatever its state: it was put there, or was found there. */
export interface AssignedVm {
  id: string;
  node: string;
  memoryBytes: bigint;
  vcpus: number;
  /** Whether its vCPUs run. */
  running: boolean;
}

/** Capacity kept for a VM on its way to a node (INV-6). On the node it comes from it counts as assigned. */
export interface PromisedVm {
  id: string;
  node: string;
  memoryBytes: bigint;
  vcpus: number;
}

/** What may be given away, cluster-wide. */
export interface PlacementLimits {
  /** Provisioned and promised memory may reach this multiple of a node's total, less the reserve. */
  memoryRatio: number;
  memoryReserveBytes: bigint;
  /** Provisioned and promised vCPUs may reach this multiple of a node's CPUs. */
  vcpuRatio: number;
}

/** Everything a placement depends on. The order of its lists means nothing. */
export interface PlacementSnapshot {
  nodes: readonly PlacementNode[];
  vms: readonly AssignedVm[];
  promises: readonly PromisedVm[];
  limits: PlacementLimits;
}

/** A VM that needs a node. */
export interface PlacementRequest {
  /** Its UUID: what it takes up itself counts nowhere against it. */
  vmId: string;
  memoryBytes: bigint;
  vcpus: number;
  /** Names of the only nodes it may run on; empty: any. */
  nodeLimit: readonly string[];
  /** Bridges that its interfaces are ports of. Absent: none. */
  bridges?: readonly string[];
  /** By what the node is chosen; UNSPECIFIED: MEM. */
  selector: Selector;
  /** The node it is to leave. */
  source?: string;
}

/** What is taken of a node. Memory in bytes. */
export interface NodeUsage {
  /** By VMs that run. */
  memoryAllocatedBytes: bigint;
  /** By all VMs assigned, whatever their state. */
  memoryProvisionedBytes: bigint;
  /** By VMs on their way. */
  memoryPromisedBytes: bigint;
  vcpusAllocated: number;
  vcpusProvisioned: number;
  vcpusPromised: number;
  /** VMs assigned or on their way. */
  vms: number;
  /** VMs whose vCPUs run. */
  vmsRunning: number;
}

const NOTHING: NodeUsage = {
  memoryAllocatedBytes: 0n,
  memoryProvisionedBytes: 0n,
  memoryPromisedBytes: 0n,
  vcpusAllocated: 0,
  vcpusProvisioned: 0,
  vcpusPromised: 0,
  vms: 0,
  vmsRunning: 0,
};

/** What the options leave unsaid. */
const DEFAULT_LIMITS: PlacementLimits = { memoryRatio: 1, memoryReserveBytes: 512n * 1024n ** 2n, vcpuRatio: 16 };

/** The limits that the cluster's options set, with the documented defaults. */
export function limitsOf(options: ClusterOptions | undefined): PlacementLimits {
  return {
    memoryRatio: options?.memoryRatio ?? DEFAULT_LIMITS.memoryRatio,
    memoryReserveBytes: options?.memoryReserveBytes ?? DEFAULT_LIMITS.memoryReserveBytes,
    vcpuRatio: options?.vcpuRatio ?? DEFAULT_LIMITS.vcpuRatio,
  };
}

/** The first selector that is set: the VM's own, the cluster's, then MEM. */
export function selectorOf(...wishes: readonly Selector[]): Selector {
  return wishes.find((wish) => wish !== Selector.UNSPECIFIED && wish !== Selector.UNRECOGNIZED) ?? Selector.MEM;
}

/** What each node is used for, by name; a VM with the id `except` is left out. */
export function usageOf(
  { nodes, vms, promises }: Pick<PlacementSnapshot, 'nodes' | 'vms' | 'promises'>,
  except?: string,
): ReadonlyMap<string, NodeUsage> {
  const usage = new Map(nodes.map(({ name }) => [name, { ...NOTHING }]));
  for (const { id, node, memoryBytes, vcpus, running } of vms) {
    const used = usage.get(node);
    if (used === undefined || id === except) continue;
    used.vms += 1;
    used.memoryProvisionedBytes += memoryBytes;
    used.vcpusProvisioned += vcpus;
    if (running) {
      used.vmsRunning += 1;
      used.memoryAllocatedBytes += memoryBytes;
      used.vcpusAllocated += vcpus;
    }
  }
  for (const { id, node, memoryBytes, vcpus } of promises) {
    const used = usage.get(node);
    if (used === undefined || id === except) continue;
    used.vms += 1;
    used.memoryPromisedBytes += memoryBytes;
    used.vcpusPromised += vcpus;
  }
  return usage;
}

/** Memory that may still be given away; negative on a node that has too much on it already. */
export function unprovisionedBytes(capacity: NodeCapacity, usage: NodeUsage, limits: PlacementLimits): bigint {
  return memoryLimitBytes(capacity, limits) - usage.memoryProvisionedBytes - usage.memoryPromisedBytes;
}

/** All memory that may be given away. */
export function memoryLimitBytes(capacity: NodeCapacity, { memoryRatio, memoryReserveBytes }: PlacementLimits): bigint {
  return BigInt(Math.floor(Number(capacity.memoryTotalBytes) * memoryRatio)) - memoryReserveBytes;
}

/** All vCPUs that may be given away. */
export function vcpuLimit(capacity: NodeCapacity, { vcpuRatio }: PlacementLimits): number {
  return Math.floor(capacity.cpus * vcpuRatio);
}

/** More memory is provisioned than the node has, whatever the ratio allows. */
export function isOverprovisioned(capacity: NodeCapacity, usage: NodeUsage): boolean {
  return usage.memoryProvisionedBytes > capacity.memoryTotalBytes;
}
