// SPDX-License-Identifier: Apache-2.0
import type { NodeCpu, NodeMemory } from '@lockstep/sdk/v1';
import type { HugepageMemory } from '../core/domain-xml/hugepages.js';
import { formatBytes } from '../core/placement/bytes.js';
import { ordinaryBytes, poolFor, poolsBytes, type MemorySize } from '../core/placement/hugepages.js';
import type { Domain } from '../platform/hypervisor/hypervisor.js';
import type { HostMemory } from '../platform/host/host.js';
import { isActive, runsVcpus } from './domain-states.js';
import { isIncoming } from './facts.js';
import type { VmNotes } from './memory-document.js';

export interface FiguresInput {
  domains: Iterable<Domain>;
  /** Notes of every VM of which something is noted, by UUID. */
  notes: ReadonlyMap<string, Readonly<VmNotes>>;
  host: HostMemory | undefined;
  cpus: number;
  load: number;
}

export interface Figures {
  memory: NodeMemory;
  cpu: NodeCpu;
  vmsRunning: number;
  vmsTotal: number;
}

/**
 * What the node gives and what is taken of it. *allocated*: domains that exist in memory, running or paused.
 * *provisioned*: all that belong here, running or not: defined domains of ours and assignments. *promised*: incoming
 * ones, until they run. A VM on its way here counts once, as promised. Pure.
 */
export function nodeFigures({ domains, notes, host, cpus, load }: FiguresInput): Figures {
  const allocated = new Sum();
  const provisioned = new Sum();
  const promised = new Sum();
  const byUuid = new Map<string, Domain>();
  let vmsRunning = 0;
  for (const domain of domains) {
    byUuid.set(domain.uuid, domain);
    if (runsVcpus(domain.state)) vmsRunning += 1;
    if (isPromise(domain, notes.get(domain.uuid))) continue;
    if (isActive(domain.state)) allocated.add(domain.maxMemoryBytes, domain.vcpus);
    if (domain.placementEpoch !== undefined) provisioned.add(domain.maxMemoryBytes, domain.vcpus);
  }
  for (const [uuid, { armed, assignment }] of notes) {
    const domain = byUuid.get(uuid);
    if (armed?.closed === false && (domain === undefined || isPromise(domain, notes.get(uuid)))) {
      promised.add(armed.memoryBytes, armed.vcpus);
    } else if (assignment !== undefined && domain?.placementEpoch === undefined) {
      provisioned.add(assignment.memoryBytes, assignment.vcpus);
    }
  }
  return {
    memory: {
      ...hostFigures(host),
      allocatedBytes: allocated.memoryBytes,
      provisionedBytes: provisioned.memoryBytes,
      promisedBytes: promised.memoryBytes,
    },
    cpu: { total: cpus, allocated: allocated.vcpus, provisioned: provisioned.vcpus, promised: promised.vcpus, load },
    vmsRunning,
    vmsTotal: byUuid.size,
  };
}

/** What the host itself has, whatever its VMs take. */
export function hostFigures(
  host: HostMemory | undefined,
): Omit<NodeMemory, 'allocatedBytes' | 'provisionedBytes' | 'promisedBytes'> {
  const pools = host?.hugepagePools ?? [];
  return {
    totalBytes: host?.totalBytes ?? 0n,
    // Not recomputed from free memory: the page cache is neither used nor free.
    usedBytes: host === undefined ? 0n : host.totalBytes - host.availableBytes,
    freeBytes: host?.freeBytes ?? 0n,
    availableBytes: host?.availableBytes ?? 0n,
    hugepagesTotalBytes: poolsBytes(pools),
    hugepagesFreeBytes: pools.reduce((sum, { freeBytes }) => sum + freeBytes, 0n),
    hugepagePools: pools,
  };
}

/** Why a guest does not fit into this node's memory now; undefined where it does. */
export function memoryRefusal(memory: NodeMemory, need: MemorySize, reserveBytes: bigint): string | undefined {
  for (const part of need.hugepages ?? []) {
    const freeBytes = poolFor(memory.hugepagePools, part)?.freeBytes ?? 0n;
    if (part.bytes > freeBytes) return `needs ${mib(part.bytes)} of ${pagesOf(part)}, has ${mib(freeBytes)} free`;
  }
  const needBytes = ordinaryBytes(need);
  // Whatever holds huge pages takes no ordinary memory for that.
  const inPools = memory.hugepagesTotalBytes - memory.hugepagesFreeBytes;
  const ordinary = memory.allocatedBytes + memory.promisedBytes - inPools;
  const takenBytes = (ordinary > 0n ? ordinary : 0n) + reserveBytes + memory.hugepagesTotalBytes;
  const leftBytes = memory.totalBytes > takenBytes ? memory.totalBytes - takenBytes : 0n;
  if (needBytes <= leftBytes) return undefined;
  const pools = memory.hugepagesTotalBytes === 0n ? '' : `, huge pages ${mib(memory.hugepagesTotalBytes)}`;
  const parts = `total ${mib(memory.totalBytes)}, allocated ${mib(memory.allocatedBytes)}, promised ${mib(memory.promisedBytes)}, reserve ${mib(reserveBytes)}${pools}`;
  return `needs ${mib(needBytes)} of memory, has ${mib(leftBytes)} (${parts})`;
}

function pagesOf({ pageBytes }: HugepageMemory): string {
  return pageBytes === 0n ? 'huge pages' : `huge pages of ${formatBytes(pageBytes)}`;
}

function isPromise(domain: Domain, notes: Readonly<VmNotes> | undefined): boolean {
  return notes?.armed?.closed === false && isIncoming(domain);
}

function mib(bytes: bigint): string {
  return `${String(bytes / (1024n * 1024n))} MiB`;
}

class Sum {
  memoryBytes = 0n;
  vcpus = 0;

  add(memoryBytes: bigint, vcpus: number): void {
    this.memoryBytes += memoryBytes;
    this.vcpus += vcpus;
  }
}
