// SPDX-License-Identifier: Apache-2.0
import { Selector, type ClusterOptions } from '@lockstep/sdk/v1';
import {
  NO_POOL_USE,
  ordinaryBytes,
  poolFor,
  poolsBytes,
  type HugepagePool,
  type MemorySize,
  type PoolUse,
} from './hugepages.js';

/** What a node's agent measured. */
export interface NodeCapacity {
  memoryTotalBytes: bigint;
  /** What could be had right now without swapping. */
  memoryAvailableBytes: bigint;
  /** Absent: it has set none aside. */
  hugepagePools?: readonly HugepagePool[] | undefined;
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
export interface AssignedVm extends MemorySize {
  id: string;
  node: string;
  vcpus: number;
  /** Whether its vCPUs run. */
  running: boolean;
}

/** Capacity kept for a VM on its way to a node (INV-6). On the node it comes from it counts as assigned. */
export interface PromisedVm extends MemorySize {
  id: string;
  node: string;
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
export interface PlacementRequest extends MemorySize {
  /** Its UUID: what it takes up itself counts nowhere against it. */
  vmId: string;
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
  /** Of what is provisioned and promised, what comes from no pool of huge pages. */
  ordinaryProvisionedBytes: bigint;
  ordinaryPromisedBytes: bigint;
  /** What is taken of the host's pools, by the size of their pages. */
  pools: ReadonlyMap<bigint, PoolUse>;
  vcpusAllocated: number;
  vcpusProvisioned: number;
  vcpusPromised: number;
  /** VMs assigned or on their way. */
  vms: number;
  /** VMs whose vCPUs run. */
  vmsRunning: number;
}

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
  const usage = new Map(nodes.map(({ name, capacity }) => [name, new Usage(capacity?.hugepagePools ?? [])]));
  for (const vm of vms) if (vm.id !== except) usage.get(vm.node)?.assign(vm);
  for (const vm of promises) if (vm.id !== except) usage.get(vm.node)?.promise(vm);
  return usage;
}

class Usage implements NodeUsage {
  memoryAllocatedBytes = 0n;
  memoryProvisionedBytes = 0n;
  memoryPromisedBytes = 0n;
  ordinaryProvisionedBytes = 0n;
  ordinaryPromisedBytes = 0n;
  vcpusAllocated = 0;
  vcpusProvisioned = 0;
  vcpusPromised = 0;
  vms = 0;
  vmsRunning = 0;
  readonly pools = new Map<bigint, PoolUse>();

  constructor(private readonly hostPools: readonly HugepagePool[]) {}

  assign(vm: AssignedVm): void {
    const { memoryBytes, vcpus, running } = vm;
    this.vms += 1;
    this.memoryProvisionedBytes += memoryBytes;
    this.ordinaryProvisionedBytes += ordinaryBytes(vm);
    this.vcpusProvisioned += vcpus;
    this.take(vm, running ? ['provisioned', 'running'] : ['provisioned']);
    if (!running) return;
    this.vmsRunning += 1;
    this.memoryAllocatedBytes += memoryBytes;
    this.vcpusAllocated += vcpus;
  }

  promise(vm: PromisedVm): void {
    this.vms += 1;
    this.memoryPromisedBytes += vm.memoryBytes;
    this.ordinaryPromisedBytes += ordinaryBytes(vm);
    this.vcpusPromised += vm.vcpus;
    this.take(vm, ['promised']);
  }

  private take({ hugepages = [] }: MemorySize, kinds: readonly (keyof PoolUse)[]): void {
    for (const memory of hugepages) {
      const pool = poolFor(this.hostPools, memory);
      if (pool === undefined) continue;
      const use = { ...(this.pools.get(pool.pageBytes) ?? NO_POOL_USE) };
      for (const kind of kinds) use[kind] += memory.bytes;
      this.pools.set(pool.pageBytes, use);
    }
  }
}

/** Ordinary memory that may still be given away; negative on a node that has too much on it already. */
export function unprovisionedBytes(capacity: NodeCapacity, usage: NodeUsage, limits: PlacementLimits): bigint {
  return memoryLimitBytes(capacity, limits) - usage.ordinaryProvisionedBytes - usage.ordinaryPromisedBytes;
}

/** All ordinary memory that may be given away. */
export function memoryLimitBytes(capacity: NodeCapacity, { memoryRatio, memoryReserveBytes }: PlacementLimits): bigint {
  return BigInt(Math.floor(Number(ordinaryTotalBytes(capacity)) * memoryRatio)) - memoryReserveBytes;
}

/** What is no pool of huge pages. */
function ordinaryTotalBytes({ memoryTotalBytes, hugepagePools = [] }: NodeCapacity): bigint {
  return memoryTotalBytes - poolsBytes(hugepagePools);
}

/** All vCPUs that may be given away. */
export function vcpuLimit(capacity: NodeCapacity, { vcpuRatio }: PlacementLimits): number {
  return Math.floor(capacity.cpus * vcpuRatio);
}

/** More memory is provisioned than the node has, whatever the ratio allows. */
export function isOverprovisioned(capacity: NodeCapacity, usage: NodeUsage): boolean {
  return usage.memoryProvisionedBytes > capacity.memoryTotalBytes;
}
