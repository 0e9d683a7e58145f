// SPDX-License-Identifier: Apache-2.0
import type { SelfFenceConfig } from './fencing/self-fence.js';

/** What an agent is told. Times in milliseconds; those not given have the defaults below. */
export interface AgentConfig {
  /** Its name: the same as the Consul node's. */
  node: string;
  /** Where other services reach it, host:port. */
  address: string;
  /** The network that this address belongs to; `main` unless told. */
  addressNetwork?: string | undefined;
  /** Where else it can be reached, for signs of life. */
  furtherAddresses?: readonly { network: string; address: string }[] | undefined;
  /** What it does when its lease is lost; nothing unless told. */
  selfFence?: SelfFenceConfig | undefined;
  /** UUID of the host; absent: the hypervisor's own. */
  hostUuid?: string | undefined;
  /** Goes into the node's record. */
  version: string;
  labels?: Readonly<Record<string, string>> | undefined;
  /** Memory that is never given to VMs. */
  memoryReserveBytes?: bigint | undefined;
  timing?: Partial<AgentTiming> | undefined;
}

export interface AgentTiming {
  /** Between two looks at everything. */
  tickMs: number;
  /** At least this often a watcher hears something. */
  heartbeatMs: number;
  /** How long a collector's calls may take. */
  collectorLimitMs: number;
  /** Between two looks at the host's links. */
  networkEveryMs: number;
  /** How long a pass over them may take, with all that it makes. */
  networkLimitMs: number;
  /** Between two questions to the storage cluster. */
  cephEveryMs: number;
  /** Between two looks for preparations that nobody came back for. */
  forgottenEveryMs: number;
  /** How long its two questions may take: two seconds each, and what a busy host adds. */
  cephLimitMs: number;
  /** How long a prepared target waits without being renewed. */
  prepareTtlMs: number;
  /** Between two reports of a transfer. */
  progressEveryMs: number;
  /** The lease on `alive/NODE`. */
  leaseTtlMs: number;
  leaseRenewMs: number;
  leaseGiveUpMs: number;
  lockDelayMs: number;
  /** Between two tries to join, at most. */
  joinRetryMs: number;
  /** Before a guest that ended by itself is started again; doubled each time. */
  restartBackoffMs: number;
  /** A guest that ran this long has its restarts forgiven. */
  stableAfterMs: number;
  /** Between two checks of the own BMC; many lock a user out after a few wrong passwords in as many minutes. */
  bmcCheckEveryMs: number;
  /** How long a check of a BMC may take. */
  bmcCheckLimitMs: number;
  /** How long a host that goes down waits for its VMs to be taken away, where they shall leave. */
  leaveLimitMs: number;
  /** And then how long for what is left to shut down. */
  stopLimitMs: number;
}

export const DEFAULT_TIMING: AgentTiming = {
  tickMs: 5_000,
  heartbeatMs: 1_000,
  collectorLimitMs: 3_000,
  networkEveryMs: 10_000,
  networkLimitMs: 10_000,
  cephEveryMs: 30_000,
  forgottenEveryMs: 30_000,
  cephLimitMs: 5_000,
  prepareTtlMs: 60_000,
  progressEveryMs: 200,
  leaseTtlMs: 15_000,
  leaseRenewMs: 5_000,
  leaseGiveUpMs: 12_000,
  lockDelayMs: 1_000,
  joinRetryMs: 5_000,
  restartBackoffMs: 5_000,
  stableAfterMs: 600_000,
  bmcCheckEveryMs: 300_000,
  bmcCheckLimitMs: 20_000,
  leaveLimitMs: 150_000,
  stopLimitMs: 190_000,
};

/** How long each kind of call to the hypervisor may take. */
export const CALL_MS = {
  read: 3_000,
  define: 10_000,
  start: 30_000,
  destroy: 20_000,
  open: 5_000,
  begin: 15_000,
  /** The first one on a fresh libvirtd probes QEMU's capabilities. */
  prepare: 30_000,
  finish: 30_000,
  confirm: 30_000,
  cancel: 30_000,
  tune: 3_000,
  /** With post-copy the last two last until all memory has been fetched. */
  postCopy: 600_000,
  /** Well beyond the two seconds that it is measured over. */
  memoryUse: 5_000,
} as const;
