// SPDX-License-Identifier: Apache-2.0
import type { Reason } from '../errors/catalogue.js';
import type { HugepageMemory } from '../domain-xml/hugepages.js';
import { formatBytes } from './bytes.js';
import { heldByOthers, leftInPool, NO_POOL_USE, ordinaryBytes, poolFor, poolsBytes, type HugepagePool } from './hugepages.js';
import {
  memoryLimitBytes,
  unprovisionedBytes,
  vcpuLimit,
  type NodeUsage,
  type PlacementLimits,
  type PlacementNode,
  type PlacementRequest,
} from './snapshot.js';

/** What a filter judges. */
export interface FilterInput {
  node: PlacementNode;
  usage: NodeUsage;
  limits: PlacementLimits;
  request: PlacementRequest;
}

/** Whether a node passed, and in one sentence what was needed and what it had. */
export interface FilterVerdict {
  passed: boolean;
  detail: string;
}

/** One condition a node must meet. */
export interface Filter {
  name: 'ready' | 'not-source' | 'node-limit' | 'memory' | 'hugepages' | 'vcpus' | 'bridges';
  /** The reason to give where a node that was named by a person does not pass. */
  reason: Reason;
  judge: (input: FilterInput) => FilterVerdict;
}

/** In the order in which a person wants to read them. All are judged, so that nobody repairs one to meet the next. */
export const FILTERS: readonly Filter[] = [
  {
    name: 'ready',
    reason: 'NODE_NOT_READY',
    judge: ({ node: { ready, notReadyReason } }) => ({
      passed: ready,
      detail: ready ? 'takes VMs' : `takes no VMs: ${notReadyReason === '' ? 'not ready' : notReadyReason}`,
    }),
  },
  {
    name: 'not-source',
    reason: 'SAME_NODE',
    judge: ({ node, request: { source } }) => {
      if (source === undefined) return { passed: true, detail: 'the VM leaves no node' };
      const passed = node.name !== source;
      return { passed, detail: passed ? `the VM leaves ${source}` : 'the VM is on this node already' };
    },
  },
  {
    name: 'node-limit',
    reason: 'NODE_LIMIT',
    judge: ({ node, request: { nodeLimit } }) => {
      if (nodeLimit.length === 0) return { passed: true, detail: 'the VM may run on any node' };
      return { passed: nodeLimit.includes(node.name), detail: `the VM may run on ${nodeLimit.join(', ')} only` };
    },
  },
  { name: 'memory', reason: 'NO_FIT', judge: judgeMemory },
  { name: 'hugepages', reason: 'NO_FIT', judge: judgeHugepages },
  { name: 'vcpus', reason: 'NO_FIT', judge: judgeVcpus },
  { name: 'bridges', reason: 'BRIDGE_MISSING', judge: judgeBridges },
];

const UNKNOWN: FilterVerdict = { passed: false, detail: 'its agent has not said yet what the node has' };

function judgeMemory({ node: { capacity }, usage, limits, request }: FilterInput): FilterVerdict {
  if (capacity === undefined) return UNKNOWN;
  const needed = ordinaryBytes(request);
  const leftBytes = unprovisionedBytes(capacity, usage, limits);
  const inPools = poolsBytes(capacity.hugepagePools ?? []);
  const all = formatBytes(capacity.memoryTotalBytes);
  const ordinary = inPools === 0n ? all : `(${all} − ${formatBytes(inPools)} of huge pages)`;
  const total = `${ordinary} × ${String(limits.memoryRatio)}`;
  const limit = `${formatBytes(memoryLimitBytes(capacity, limits))} (${total} − ${formatBytes(limits.memoryReserveBytes)})`;
  const provisioned = `${formatBytes(usage.ordinaryProvisionedBytes)} provisioned`;
  const promised = `${formatBytes(usage.ordinaryPromisedBytes)} promised`;
  return {
    // A node that has too much on it already still takes what needs none of that.
    passed: needed <= leftBytes || needed === 0n,
    detail: `needs ${formatBytes(needed)}, has ${formatBytes(leftBytes)} of ${limit}: ${provisioned}, ${promised}`,
  };
}

/** Huge pages are never overcommitted: the kernel has them or has not. */
function judgeHugepages({ node: { capacity }, usage, request: { hugepages = [] } }: FilterInput): FilterVerdict {
  if (hugepages.length === 0) return { passed: true, detail: 'the VM asks for no huge pages' };
  if (capacity === undefined) return UNKNOWN;
  const verdicts = hugepages.map((needed) => judgePool(capacity.hugepagePools ?? [], usage, needed));
  const failed = verdicts.filter(({ passed }) => !passed);
  const told = failed.length === 0 ? verdicts : failed;
  return { passed: failed.length === 0, detail: told.map(({ detail }) => detail).join('; ') };
}

function judgePool(pools: readonly HugepagePool[], usage: NodeUsage, needed: HugepageMemory): FilterVerdict {
  const pool = poolFor(pools, needed);
  const pages = needed.pageBytes === 0n ? 'the default size' : formatBytes(needed.pageBytes);
  const needs = `needs ${formatBytes(needed.bytes)} in huge pages of ${pages}`;
  if (pool === undefined) {
    const had = pools.map(({ pageBytes }) => formatBytes(pageBytes)).join(', ');
    return { passed: false, detail: `${needs}, has ${had === '' ? 'none at all' : `none but ${had}`}` };
  }
  const use = usage.pools.get(pool.pageBytes) ?? NO_POOL_USE;
  const left = leftInPool(pool, use);
  const taken = `${formatBytes(use.provisioned)} provisioned, ${formatBytes(use.promised)} promised`;
  const others = `${formatBytes(heldByOthers(pool, use))} held by others`;
  return {
    passed: needed.bytes <= left,
    detail: `${needs}, has ${formatBytes(left)} of ${formatBytes(pool.totalBytes)}: ${taken}, ${others}`,
  };
}

function judgeBridges({ node, request: { bridges: needed = [] } }: FilterInput): FilterVerdict {
  if (needed.length === 0) return { passed: true, detail: 'the VM is connected to no bridge' };
  if (node.bridges === undefined) return UNKNOWN;
  const had = new Set(node.bridges);
  const missing = needed.filter((bridge) => !had.has(bridge));
  const needs = `needs ${needed.join(', ')}`;
  return { passed: missing.length === 0, detail: missing.length === 0 ? needs : `${needs}, has no ${missing.join(', ')}` };
}

function judgeVcpus({ node: { capacity }, usage, limits, request }: FilterInput): FilterVerdict {
  if (capacity === undefined) return UNKNOWN;
  const most = vcpuLimit(capacity, limits);
  const left = most - usage.vcpusProvisioned - usage.vcpusPromised;
  const limit = `${String(most)} (${String(capacity.cpus)} CPUs × ${String(limits.vcpuRatio)})`;
  const taken = `${String(usage.vcpusProvisioned)} provisioned, ${String(usage.vcpusPromised)} promised`;
  return {
    passed: request.vcpus <= left,
    detail: `needs ${String(request.vcpus)}, has ${String(left)} of ${limit}: ${taken}`,
  };
}
