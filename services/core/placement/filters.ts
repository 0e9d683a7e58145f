// SPDX-License-Identifier: Apache-2.0
import type { Reason } from '../errors/catalogue.js';
import { formatBytes } from './bytes.js';
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
  name: 'ready' | 'not-source' | 'node-limit' | 'memory' | 'vcpus' | 'bridges';
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
  { name: 'vcpus', reason: 'NO_FIT', judge: judgeVcpus },
  { name: 'bridges', reason: 'BRIDGE_MISSING', judge: judgeBridges },
];

const UNKNOWN: FilterVerdict = { passed: false, detail: 'its agent has not said yet what the node has' };

function judgeMemory({ node: { capacity }, usage, limits, request }: FilterInput): FilterVerdict {
  if (capacity === undefined) return UNKNOWN;
  const leftBytes = unprovisionedBytes(capacity, usage, limits);
  const total = `${formatBytes(capacity.memoryTotalBytes)} × ${String(limits.memoryRatio)}`;
  const limit = `${formatBytes(memoryLimitBytes(capacity, limits))} (${total} − ${formatBytes(limits.memoryReserveBytes)})`;
  const provisioned = `${formatBytes(usage.memoryProvisionedBytes)} provisioned`;
  const promised = `${formatBytes(usage.memoryPromisedBytes)} promised`;
  return {
    passed: request.memoryBytes <= leftBytes,
    detail: `needs ${formatBytes(request.memoryBytes)}, has ${formatBytes(leftBytes)} of ${limit}: ${provisioned}, ${promised}`,
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
