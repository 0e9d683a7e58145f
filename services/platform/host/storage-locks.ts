// SPDX-License-Identifier: Apache-2.0
import type { CallLimit } from '../hypervisor/hypervisor.js';
import { CephError } from './ceph.js';

/** A lock on an image. */
export interface ImageLock {
  /** Ceph's own name for it; two of one image differ in it or in their holder. */
  id: string;
  /** Ceph's name for the client, e.g. client.4117. */
  holder: string;
  /** The client's address with its nonce, which a client that is started again does not have, e.g. 10.0.0.1:0/123. */
  address: string;
}

/** Who uses an image. */
export interface ImageUse {
  locks: readonly ImageLock[];
  /** Addresses of the clients that have it open for writing, as far as the storage cluster has heard of them lately. */
  watchers: readonly string[];
}

/**
 * The locks of the storage cluster's images, as pool/name. Every call fails with CephError where the cluster says no or
 * there is none, and with DeadlineExceeded where it does not answer in time: then nothing of the call is left running.
 */
export interface StorageLocks {
  useOf(image: string, call: CallLimit): Promise<ImageUse>;
  /**
   * Shuts these clients out: nothing that they send from now on, or have sent and that has not arrived, is written. May be
   * repeated.
   *
   * @returns the epoch of an OSD map that holds them all; who connects from now on works by that map or a later one, and
   * no OSD serves it before it has that map, too
   */
  blocklist(addresses: readonly string[], call: CallLimit): Promise<bigint>;
  /** Removes a lock; done where it is not there. */
  breakLock(image: string, lock: ImageLock, call: CallLimit): Promise<void>;
}

/** A host without Ceph. */
export const noStorageLocks: StorageLocks = {
  useOf: () => Promise.reject(new CephError('this host has no Ceph')),
  blocklist: () => Promise.reject(new CephError('this host has no Ceph')),
  breakLock: () => Promise.reject(new CephError('this host has no Ceph')),
};
