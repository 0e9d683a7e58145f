// SPDX-License-Identifier: Apache-2.0
import type { Ceph } from './ceph.js';
import type { Consoles } from './consoles.js';
import type { Links } from './links.js';
import type { StorageLocks } from './storage-locks.js';

/** The host's memory in bytes, as the kernel tells it. */
export interface HostMemory {
  totalBytes: bigint;
  freeBytes: bigint;
  availableBytes: bigint;
  /** Set aside as huge pages of any size: a part of all RAM, and never available. */
  hugepagesTotalBytes: bigint;
  /** Of these, what nobody has taken. */
  hugepagesFreeBytes: bigint;
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
