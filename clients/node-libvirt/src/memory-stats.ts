// SPDX-License-Identifier: Apache-2.0

/** What the hypervisor knows of a guest's memory; what it does not know is left out. */
export interface MemoryStats {
  readonly swapInBytes?: bigint;
  readonly swapOutBytes?: bigint;
  readonly majorFaults?: bigint;
  readonly minorFaults?: bigint;
  /** Of the guest's memory, what the guest does not use at all. */
  readonly unusedBytes?: bigint;
  /** What the guest can use, as it sees it. */
  readonly availableBytes?: bigint;
  readonly actualBalloonBytes?: bigint;
  /** What the guest's process takes of the host's memory. */
  readonly rssBytes?: bigint;
  /** What the guest could give out without swapping. */
  readonly usableBytes?: bigint;
  /** When the guest told its figures last, in seconds since 1970. */
  readonly lastUpdateSeconds?: bigint;
  readonly diskCachesBytes?: bigint;
  readonly hugetlbPageAllocations?: bigint;
  readonly hugetlbPageFailures?: bigint;
}

const KIB = 1024n;

/** By libvirt's tag: our name, and what its unit is multiplied with. */
const FIGURES: readonly (readonly [name: keyof MemoryStats, unit: bigint])[] = [
  ['swapInBytes', KIB],
  ['swapOutBytes', KIB],
  ['majorFaults', 1n],
  ['minorFaults', 1n],
  ['unusedBytes', KIB],
  ['availableBytes', KIB],
  ['actualBalloonBytes', KIB],
  ['rssBytes', KIB],
  ['usableBytes', KIB],
  ['lastUpdateSeconds', 1n],
  ['diskCachesBytes', KIB],
  ['hugetlbPageAllocations', 1n],
  ['hugetlbPageFailures', 1n],
];

/** Tags of a newer libvirt are passed over. */
export function readMemoryStats(stats: readonly { readonly tag: number; readonly val: bigint }[]): MemoryStats {
  const figures: { -readonly [K in keyof MemoryStats]: MemoryStats[K] } = {};
  for (const { tag, val } of stats) {
    const figure = FIGURES[tag];
    if (figure !== undefined) figures[figure[0]] = val * figure[1];
  }
  return figures;
}
