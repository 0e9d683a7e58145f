// SPDX-License-Identifier: Apache-2.0
import { Selector } from '@lockstep/sdk/v1';
import { FILTERS, type Filter, type FilterVerdict } from './filters.js';
import { leftInPool, NO_POOL_USE, poolFor } from './hugepages.js';
import {
  selectorOf,
  unprovisionedBytes,
  usageOf,
  type NodeCapacity,
  type NodeUsage,
  type PlacementLimits,
  type PlacementNode,
  type PlacementRequest,
  type PlacementSnapshot,
} from './snapshot.js';

/** One filter's word on one node. */
export interface FilterResult extends FilterVerdict {
  filter: Filter['name'];
}

/** One node's part of a decision. */
export interface Candidate {
  node: string;
  /** Whether it passed every filter. */
  feasible: boolean;
  filters: FilterResult[];
  /** The selector's figure: larger is better. 0 where the node's figures are not known. */
  score: number;
}

/** Where a VM goes and why. */
export interface PlacementDecision {
  /** Undefined: no node is feasible; the candidates say why, each of them. */
  node: string | undefined;
  /** Every node, by name. */
  candidates: Candidate[];
  /** The selector used. */
  selector: Selector;
}

/** Chooses a node. Pure: the same snapshot and request give the same answer, whatever the order of their lists. */
export function place(snapshot: PlacementSnapshot, request: PlacementRequest): PlacementDecision {
  const selector = selectorOf(request.selector);
  const usage = usageOf(snapshot, request.vmId);
  const candidates = snapshot.nodes
    .map((node) => assess(node, usage, snapshot.limits, request, selector))
    .sort((left, right) => (left.node < right.node ? -1 : 1));

  let best: Candidate | undefined;
  for (const candidate of candidates) {
    // Only a better one replaces, so that what is left of a tie goes by name.
    if (candidate.feasible && (best === undefined || isBetter(candidate, best, usage))) best = candidate;
  }
  return { node: best?.node, candidates, selector };
}

/** By score; between equals, the node on which fewer VMs run has more to spare than the one that only keeps their room. */
function isBetter(one: Candidate, other: Candidate, usage: ReadonlyMap<string, NodeUsage>): boolean {
  if (one.score !== other.score) return one.score > other.score;
  return (usage.get(one.node)?.vmsRunning ?? 0) < (usage.get(other.node)?.vmsRunning ?? 0);
}

/** The first filter that a candidate did not pass, with the reason to give for it. */
export function refusalOf(candidate: Candidate): (FilterResult & Pick<Filter, 'reason'>) | undefined {
  const failed = candidate.filters.find(({ passed }) => !passed);
  const filter = FILTERS.find(({ name }) => name === failed?.filter);
  return failed === undefined || filter === undefined ? undefined : { ...failed, reason: filter.reason };
}

/** Why no node is feasible, or why this one is not: one sentence per node. */
export function explain({ candidates }: Pick<PlacementDecision, 'candidates'>): string {
  if (candidates.length === 0) return 'the cluster has no nodes';
  return candidates.map((candidate) => `${candidate.node}: ${explainCandidate(candidate)}`).join('; ');
}

function explainCandidate({ filters }: Candidate): string {
  const failed = filters.filter(({ passed }) => !passed);
  return failed.length === 0 ? 'fits' : failed.map(({ filter, detail }) => `${filter}: ${detail}`).join(', ');
}

function assess(
  node: PlacementNode,
  usages: ReadonlyMap<string, NodeUsage>,
  limits: PlacementLimits,
  request: PlacementRequest,
  selector: Selector,
): Candidate {
  const usage = usages.get(node.name);
  if (usage === undefined) throw new Error(`usage of ${node.name} is missing`);
  const filters = FILTERS.map(({ name, judge }) => ({ filter: name, ...judge({ node, usage, limits, request }) }));
  return {
    node: node.name,
    feasible: filters.every(({ passed }) => passed),
    filters,
    score: scoreOf(selector, node, usage, limits, request),
  };
}

function scoreOf(
  selector: Selector,
  { capacity }: PlacementNode,
  usage: NodeUsage,
  limits: PlacementLimits,
  request: PlacementRequest,
): number {
  if (capacity === undefined) return 0;
  switch (selector) {
    case Selector.MEM:
    case Selector.UNSPECIFIED:
    case Selector.UNRECOGNIZED:
      return Number(ofItsKind(capacity, usage, request) ?? unprovisionedBytes(capacity, usage, limits));
    case Selector.MEMFREE:
      // What was promised will be taken as soon as the moves in flight arrive.
      return Number(ofItsKind(capacity, usage, request) ?? capacity.memoryAvailableBytes - usage.ordinaryPromisedBytes);
    case Selector.LOAD:
      return 0 - capacity.load / Math.max(1, capacity.cpus);
    case Selector.VCPUS:
      return 0 - (usage.vcpusProvisioned + usage.vcpusPromised);
    case Selector.VMS:
      return 0 - usage.vms;
  }
}

/** A VM that lives in huge pages goes where most of those are left, whatever the selector of memory; undefined: it does not. */
function ofItsKind({ hugepagePools = [] }: NodeCapacity, { pools }: NodeUsage, request: PlacementRequest): bigint | undefined {
  if (request.hugepages === undefined || request.hugepages.length === 0) return undefined;
  return request.hugepages.reduce((sum, memory) => {
    const pool = poolFor(hugepagePools, memory);
    return pool === undefined ? sum : sum + leftInPool(pool, pools.get(pool.pageBytes) ?? NO_POOL_USE);
  }, 0n);
}
