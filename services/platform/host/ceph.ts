// SPDX-License-Identifier: Apache-2.0
import type { CallLimit } from '../hypervisor/hypervisor.js';

/** A storage cluster as one of its clients sees it. */
export interface CephReport {
  /** Ceph's own word, e.g. HEALTH_OK. */
  health: string;
  /** What is not well, in Ceph's own words; empty where all is. */
  detail: string;
  osds: readonly CephOsd[];
  usedBytes: bigint;
  totalBytes: bigint;
}

/** One of its disks. */
export interface CephOsd {
  id: number;
  /** Its daemon answers. */
  up: boolean;
  /** It holds data. */
  in: boolean;
}

/** Ceph said no, or what it said is not understood. */
export class CephError extends Error {
  override readonly name = 'CephError';
}

/** The host's access to Ceph. */
export interface Ceph {
  /**
   * Asks the storage cluster; undefined: this host has none. Each of the two questions takes at most two seconds,
   * whatever the limit: afterwards nothing of it is left. Fails with DeadlineExceeded or CephError.
   */
  report(call: CallLimit): Promise<CephReport | undefined>;
}

/** A host without Ceph. */
export const noCeph: Ceph = { report: () => Promise.resolve(undefined) };
