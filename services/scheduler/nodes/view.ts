// SPDX-License-Identifier: Apache-2.0
import { Fenceability, GetNodeResponse, type Node, NodeConditionType, type NodeFigures, NodeJudgement } from '@lockstep/sdk/v1';
import { distrusted } from '../../core/fencing/bmc-verdict.js';
import { LockstepError } from '../../core/errors/catalogue.js';
import { formatBytes } from '../../core/placement/bytes.js';
import { isOverprovisioned, usageOf, type NodeUsage } from '../../core/placement/snapshot.js';
import type { NodeView } from '../../membership/node-streams.js';
import { durationOf } from '../../core/duration.js';
import type { Leading } from '../term.js';
import { obstacleOf } from './obstacle.js';
import { capacityOf, snapshotOf } from './snapshot.js';

/** All nodes as they are now, ordered by name. */
export function nodesNow(leading: Leading): Node[] {
  const usage = usageOf(snapshotOf(leading));
  return leading.nodes.nodes().map((view) => nodeOf(leading, view, usage.get(view.name)));
}

/** One node after the other as they are at this moment; what VMs take of all of them is counted once. */
export function lookAtNodes(leading: Leading): (name: string) => Node | undefined {
  const usage = usageOf(snapshotOf(leading));
  return (name) => {
    const view = leading.nodes.node(name);
    return view === undefined ? undefined : nodeOf(leading, view, usage.get(name));
  };
}

/** One node and the VMs its agent reports. Fails with NODE_NOT_FOUND. */
export function findNode(leading: Leading, name: string): GetNodeResponse {
  const node = lookAtNodes(leading)(name);
  if (node === undefined) throw new LockstepError('NODE_NOT_FOUND', `there is no node ${name}`, { node: name });
  const vms = [...(leading.nodes.node(name)?.report?.vms.values() ?? [])];
  return GetNodeResponse.create({ node, vms: vms.sort((a, b) => (a.name < b.name ? -1 : 1)) });
}

function nodeOf(leading: Leading, view: NodeView, usage: NodeUsage | undefined): Node {
  const { record, report, lastMessageAtMs } = view;
  const told = report?.node;
  const obstacle = obstacleOf(leading, view);
  return {
    ...record,
    // The Fencer judges; a node that is ready is alive without asking it.
    judgement: obstacle === undefined ? NodeJudgement.ALIVE : NodeJudgement.UNSPECIFIED,
    ready: obstacle === undefined,
    notReadyReason: obstacle ?? '',
    conditions: conditionsOf(view, usage),
    figures: told?.figures === undefined || usage === undefined ? told?.figures : withUsage(told.figures, usage),
    heartbeatAge:
      lastMessageAtMs === undefined ? undefined : durationOf(leading.env.clock.nowMs() - lastMessageAtMs),
    ...fenceabilityOf(view),
    agentVersion: told?.agentVersion ?? record.agentVersion,
    hypervisorVersion: told?.hypervisorVersion ?? record.hypervisorVersion,
    networks: told?.networks ?? [],
    bridges: told?.bridges ?? [],
    ceph: told?.ceph,
  };
}

/** Whether powering it off would work: by the check of its own agent, and by what a power cycle showed. */
export function fenceabilityOf({ record, report }: NodeView): Pick<Node, 'fenceability' | 'fenceabilityDetail'> {
  const { fenceability = Fenceability.UNKNOWN, fenceabilityDetail: detail = '' } = report?.node ?? {};
  const finding = distrusted({ fenceability, detail }, record.powerDistrust);
  return { fenceability: finding.fenceability, fenceabilityDetail: finding.detail };
}

/** The agent knows what runs; what is provisioned and promised the leader knows better. */
function withUsage({ memory, cpu, ...rest }: NodeFigures, usage: NodeUsage): NodeFigures {
  return {
    ...rest,
    memory:
      memory === undefined
        ? undefined
        : { ...memory, provisionedBytes: usage.memoryProvisionedBytes, promisedBytes: usage.memoryPromisedBytes },
    cpu: cpu === undefined ? undefined : { ...cpu, provisioned: usage.vcpusProvisioned, promised: usage.vcpusPromised },
  };
}

function conditionsOf(view: NodeView, usage: NodeUsage | undefined): Node['conditions'] {
  const told = view.report?.node.conditions ?? [];
  const conditions = told.filter(({ type }) => type !== NodeConditionType.OVERPROVISIONED);
  const capacity = capacityOf(view);
  if (capacity === undefined || usage === undefined || !isOverprovisioned(capacity, usage)) return conditions;
  const { memoryProvisionedBytes } = usage;
  const detail = `${formatBytes(memoryProvisionedBytes)} provisioned of ${formatBytes(capacity.memoryTotalBytes)}`;
  return [...conditions, { type: NodeConditionType.OVERPROVISIONED, detail, since: undefined }];
}
