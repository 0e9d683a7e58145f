// SPDX-License-Identifier: Apache-2.0
import { MigrationState, type VmSpec } from '@lockstep/sdk/v1';
import { isTerminal } from '../../core/migration/transitions.js';
import {
  limitsOf,
  type AssignedVm,
  type NodeCapacity,
  type PlacementNode,
  type PlacementSnapshot,
  type PromisedVm,
} from '../../core/placement/snapshot.js';
import type { NodeView } from '../../membership/node-streams.js';
import type { Leading } from '../term.js';
import { obstacleOf } from './obstacle.js';

/**
 * What placement decides on. VMs and promises come from the records, which are never older than the leader's own
 * decisions; domains that nobody has adopted come from the agents, as only they know of them. A moving VM counts where it
 * is placed and is promised to its target (INV-6).
 */
export function snapshotOf(leading: Leading): PlacementSnapshot {
  const views = leading.nodes.nodes();
  return {
    nodes: views.map((view) => nodeOf(leading, view)),
    vms: [...recorded(leading), ...unmanaged(leading, views)],
    promises: promises(leading),
    limits: limitsOf(leading.options),
  };
}

function nodeOf(leading: Leading, view: NodeView): PlacementNode {
  const obstacle = obstacleOf(leading, view);
  return {
    name: view.name,
    ready: obstacle === undefined,
    notReadyReason: obstacle ?? '',
    capacity: capacityOf(view),
  };
}

/** What the node's agent measured; undefined until it has said. */
export function capacityOf({ report }: NodeView): NodeCapacity | undefined {
  const { memory, cpu } = report?.node.figures ?? {};
  if (memory === undefined || cpu === undefined) return undefined;
  return {
    memoryTotalBytes: memory.totalBytes,
    memoryAvailableBytes: memory.availableBytes,
    cpus: cpu.total,
    load: cpu.load,
  };
}

function recorded(leading: Leading): AssignedVm[] {
  return leading.vms.all().flatMap(({ record: { id, placement, spec } }) => {
    if (placement === undefined) return [];
    const running = leading.nodes.node(placement.node)?.report?.vms.get(id)?.running ?? false;
    return [{ id, node: placement.node, running, ...sizeOf(spec) }];
  });
}

function unmanaged(leading: Leading, views: readonly NodeView[]): AssignedVm[] {
  return views.flatMap(({ name, report }) =>
    [...(report?.vms.values() ?? [])]
      .filter(({ vmId }) => leading.vms.get(vmId) === undefined)
      .map(({ vmId, running, memoryBytes, vcpus }) => ({ id: vmId, node: name, running, memoryBytes, vcpus })),
  );
}

function promises(leading: Leading): PromisedVm[] {
  return leading.migrations
    .all()
    .map(({ record }) => record)
    // Once placed, the VM counts as assigned to the target.
    .filter(({ state }) => !isTerminal(state) && state !== MigrationState.COMMITTING)
    .map(({ vmId, targetNode }) => ({
      id: vmId,
      node: targetNode,
      ...sizeOf(leading.vms.get(vmId)?.record.spec),
    }));
}

function sizeOf(spec: VmSpec | undefined): { memoryBytes: bigint; vcpus: number } {
  return { memoryBytes: spec?.memoryBytes ?? 0n, vcpus: spec?.vcpus ?? 0 };
}
