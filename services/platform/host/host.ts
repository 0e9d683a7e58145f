// SPDX-License-Identifier: Apache-2.0
import type { HugepagePool } from '../../core/placement/hugepages.js';
import type { Ceph } from './ceph.js';
import type { Consoles } from './consoles.js';
import type { Links } from './links.js';
import type { StorageLocks } from './storage-locks.js';

/** The host's memory in bytes, as the kernel tells it. */
export interface HostMemory {
  totalBytes: bigint;
  freeBytes: bigint;
  availableBytes: bigint;
  /** What is set aside as huge pages, by their size, those of which there are any: a part of all RAM, and never available. */
  hugepagePools: HugepagePool[];
}

/** The hypervisor's host beside libvirt: what /proc, bridges and storage tell. */
export interface Host {
  memory(): Promise<HostMemory>;
  /** Load average over one minute. */
  load(): Promise<number>;
  /** Its own IP addresses; none that every host has. */
  addresses(): readonly string[];
  readonly links: Links;
  readonly ceph: Ceph;
  readonly storageLocks: StorageLocks;
  readonly consoles: Consoles;
}
