// SPDX-License-Identifier: Apache-2.0
import { MigrationState, type Vm } from '@lockstep/sdk/v1';
import { isTerminal } from '../../core/migration/transitions.js';
import { countVms } from '../../core/placement/count.js';
import {
  limitsOf,
  type NodeCapacity,
  type PlacementNode,
  type PlacementSnapshot,
} from '../../core/placement/snapshot.js';
import type { NodeView } from '../../membership/node-streams.js';
import { networksOf } from '../networks/networks.js';
import type { Leading } from '../term.js';
import { obstacleOf } from './obstacle.js';

/**
 * What placement decides on. The records are never older than the leader's own decisions; what agents report adds the
 * domains that nobody has adopted. What moves is promised to its target (INV-6).
 */
export function snapshotOf(leading: Leading): PlacementSnapshot {
  const views = leading.nodes.nodes();
  return {
    nodes: views.map((view) => nodeOf(leading, view)),
    ...countVms({
      records: [...leading.vms.all().map(({ record }) => record), ...beingDefined(leading)],
      reports: new Map(views.map(({ name, report }) => [name, report?.vms.values() ?? []])),
      moves: moves(leading),
    }),
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
    bridges: bridgesOf(leading, view),
  };
}

/** Bridges that are there, and those that the node is about to make: only its own word that it cannot counts against it. */
function bridgesOf(leading: Leading, { report }: NodeView): string[] | undefined {
  if (report === undefined) return undefined;
  const { bridges, networks } = report.node;
  const broken = new Set(networks.filter(({ ready }) => !ready).map(({ bridge }) => bridge));
  const promised = networksOf(leading).map(({ bridge }) => bridge);
  return [...bridges, ...promised].filter((bridge) => !broken.has(bridge));
}

/** What the node's agent measured; undefined until it has said. */
export function capacityOf({ report }: NodeView): NodeCapacity | undefined {
  const { memory, cpu } = report?.node.figures ?? {};
  if (memory === undefined || cpu === undefined) return undefined;
  return {
    memoryTotalBytes: memory.totalBytes,
    memoryAvailableBytes: memory.availableBytes,
    hugepagePools: memory.hugepagePools,
    cpus: cpu.total,
    load: cpu.load,
  };
}

/** VMs of which there is no record so far. */
function beingDefined({ defining, vms }: Leading): Vm[] {
  return [...defining].filter(({ id }) => vms.get(id) === undefined);
}

/**
 * What is on its way to which node. Records of moves and of VMs are followed apart, so a move may be known to have gone on,
 * or to be over, while the VM is still known where it was, or the other way round: then its room counts where it may be.
 */
export function moves(leading: Pick<Leading, 'migrations' | 'vms' | 'creating' | 'rehoming'>): { vmId: string; target: string }[] {
  const known = leading.migrations.all().flatMap(({ record: { id, vmId, state, sourceNode, targetNode } }) => {
    const isOver = isTerminal(state);
    if (isOver && leading.vms.get(vmId)?.record.placement?.migrationId !== id) return [];
    // One by shutdown keeps its room at the source as the way back.
    const keepsSource = isOver || state === MigrationState.SHUTTING_DOWN || state === MigrationState.STARTING;
    return (keepsSource ? [targetNode, sourceNode] : [targetNode]).map((target) => ({ vmId, target }));
  });
  const beingWritten = [...leading.creating, ...leading.rehoming].map(([vmId, target]) => ({ vmId, target }));
  return [...known, ...beingWritten];
}
