// SPDX-License-Identifier: Apache-2.0
import type { Host } from './host.js';
import { noCeph, type Ceph } from './ceph.js';
import type { Consoles } from './consoles.js';
import { createSimulatedConsoles } from './simulated-consoles.js';
import type { Links } from './links.js';
import { createSimulatedLinks } from './simulated-links.js';
import { noStorageLocks, type StorageLocks } from './storage-locks.js';

/** What a simulated host is like. */
export interface SimulatedHostOptions {
  totalBytes: bigint;
  /** Memory that guests hold right now, in bytes; asked every time. */
  usedByGuestsBytes?: (() => bigint) | undefined;
  /** Load average; asked every time. */
  load?: (() => number) | undefined;
  /** What the host itself needs, in bytes; 512 MiB unless told. */
  ownBytes?: bigint | undefined;
  /** Its links, which outlive its agents; ones of its own unless told. */
  links?: Links | undefined;
  /** Its own IP addresses; none unless told. */
  addresses?: readonly string[] | undefined;
  /** Its storage cluster; none unless told. */
  ceph?: Ceph | undefined;
  /** The locks of its storage cluster; none unless told. */
  storageLocks?: StorageLocks | undefined;
  /** Its guests' consoles; ones that say nothing unless told. */
  consoles?: Consoles | undefined;
}

const OWN_BYTES = 512n * 1024n * 1024n;

/** A host whose memory is what its simulated guests leave of it. */
export function createSimulatedHost(options: SimulatedHostOptions): Host {
  const { totalBytes, ownBytes = OWN_BYTES, usedByGuestsBytes = () => 0n, load = () => 0 } = options;
  const { addresses = [], storageLocks = noStorageLocks } = options;
  const { links = createSimulatedLinks(), ceph = noCeph, consoles = createSimulatedConsoles() } = options;
  return {
    links,
    ceph,
    storageLocks,
    consoles,
    memory: () => {
      const left = totalBytes - ownBytes - usedByGuestsBytes();
      const freeBytes = left > 0n ? left : 0n;
      return Promise.resolve({ totalBytes, freeBytes, availableBytes: freeBytes, hugepagePools: [] });
    },
    addresses: () => addresses,
    load: () => Promise.resolve(load()),
  };
}
