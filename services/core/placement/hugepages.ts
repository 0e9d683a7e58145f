// SPDX-License-Identifier: Apache-2.0
import type { HugepageMemory } from '../domain-xml/hugepages.js';

/** What a host has set aside as huge pages of one size: a part of all its RAM, of no use to who asks for none. */
export interface HugepagePool {
  pageBytes: bigint;
  totalBytes: bigint;
  /** What nobody holds at this moment. */
  freeBytes: bigint;
  /** Whether guests get these where they name no size. */
  isDefault: boolean;
}

/** What VMs take of one pool, in bytes. */
export interface PoolUse {
  running: bigint;
  provisioned: bigint;
  promised: bigint;
}

export const NO_POOL_USE: PoolUse = { running: 0n, provisioned: 0n, promised: 0n };

/** What a VM takes of a host: all of it, and what of that comes from huge pages. */
export interface MemorySize {
  memoryBytes: bigint;
  /** Absent: none. */
  hugepages?: readonly HugepageMemory[] | undefined;
}

/** The pool that such memory comes from; undefined: this host has none of that size. */
export function poolFor(pools: readonly HugepagePool[], { pageBytes }: HugepageMemory): HugepagePool | undefined {
  return pools.find((pool) => (pageBytes === 0n ? pool.isDefault : pool.pageBytes === pageBytes));
}

/** All that is set aside. */
export function poolsBytes(pools: readonly HugepagePool[]): bigint {
  return pools.reduce((sum, { totalBytes }) => sum + totalBytes, 0n);
}

/** What a VM takes of a host's ordinary memory. */
export function ordinaryBytes({ memoryBytes, hugepages = [] }: MemorySize): bigint {
  const left = memoryBytes - hugepagesBytes(hugepages);
  // Whole pages may be more than the guest's memory.
  return left > 0n ? left : 0n;
}

function hugepagesBytes(hugepages: readonly HugepageMemory[]): bigint {
  return hugepages.reduce((sum, { bytes }) => sum + bytes, 0n);
}

/** What nobody holds that is counted here, e.g. a packet switch. */
export function heldByOthers({ totalBytes, freeBytes }: HugepagePool, { running, promised }: PoolUse): bigint {
  // What is promised may have been taken already: it is not held against the pool a second time.
  const others = totalBytes - freeBytes - running - promised;
  return others > 0n ? others : 0n;
}

/** What may still be given away; negative where pages were taken back that VMs count on. */
export function leftInPool(pool: HugepagePool, use: PoolUse): bigint {
  return pool.totalBytes - heldByOthers(pool, use) - use.provisioned - use.promised;
}
