// SPDX-License-Identifier: Apache-2.0
import {
  Fenceability,
  GetNodeResponse,
  Node,
  NodeConditionType,
  NodeJudgement,
  NodeMode,
  VmState,
  type FigureAge,
  type NodeCondition,
  type NodeNetwork,
  type VmReport,
} from '@lockstep/sdk/v1';
import type { Page, View } from '../print.js';
import { renderFacts, type Column } from '../table.js';
import { formatAge, formatBytes, formatDuration, NONE } from '../units.js';
import { colourOfState, wordOf } from '../words.js';

const judgementOf = (node: Node): string => wordOf(NodeJudgement, node.judgement);
const modeOf = (node: Node): string => wordOf(NodeMode, node.mode);
const fenceabilityOf = (node: Node): string => wordOf(Fenceability, node.fenceability);

/** Provisioned of total memory: what placement counts with. */
function memoryOf(node: Node): string {
  const memory = node.figures?.memory;
  if (memory === undefined) return NONE;
  return `${formatBytes(memory.provisionedBytes + memory.promisedBytes)}/${formatBytes(memory.totalBytes)}`;
}

function cpuOf(node: Node): string {
  const cpu = node.figures?.cpu;
  return cpu === undefined ? NONE : `${String(cpu.provisioned + cpu.promised)}/${String(cpu.total)}`;
}

const columns: readonly Column<Node>[] = [
  { header: 'NAME', text: (node) => node.name },
  { header: 'STATE', text: judgementOf, colour: (node) => colourOfState(judgementOf(node)) },
  { header: 'MODE', text: modeOf, colour: (node) => colourOfState(modeOf(node)) },
  {
    header: 'READY',
    text: (node) => (node.ready ? 'yes' : 'no'),
    colour: (node) => (node.ready ? 'green' : 'red'),
  },
  { header: 'VMS', text: (node) => node.figures?.vmsRunning.toString() ?? NONE, align: 'right' },
  { header: 'MEMORY', text: memoryOf, align: 'right' },
  { header: 'VCPUS', text: cpuOf, align: 'right' },
  { header: 'LOAD', text: (node) => node.figures?.cpu?.load.toFixed(2) ?? NONE, align: 'right' },
  { header: 'ADDRESS', text: (node) => node.address, wide: true },
  { header: 'HEARTBEAT', text: (node) => formatDuration(node.heartbeatAge), align: 'right', wide: true },
  {
    header: 'FENCING',
    text: fenceabilityOf,
    colour: (node) => colourOfState(fenceabilityOf(node)),
    wide: true,
  },
  { header: 'AGENT', text: (node) => node.agentVersion, wide: true },
  { header: 'HYPERVISOR', text: (node) => node.hypervisorVersion, wide: true },
  { header: 'WHY', text: whyOf, wide: true, shrinks: true },
];

/** What a person should know of it, in one line. */
function whyOf(node: Node): string {
  const conditions = node.conditions.map((condition) => wordOf(NodeConditionType, condition.type));
  return [node.judgementDetail, node.notReadyReason, ...conditions].filter((part) => part !== '').join(', ');
}

export const nodeView: View<Node> = {
  columns: () => columns,
  name: (node) => node.name,
  toJson: (node) => Node.toJSON(node),
};

const reportState = (report: VmReport): string => wordOf(VmState, report.status?.state ?? VmState.UNSPECIFIED);

const reportColumns: readonly Column<VmReport>[] = [
  { header: 'VM', text: (report) => report.name },
  { header: 'STATE', text: reportState, colour: (report) => colourOfState(reportState(report)) },
  { header: 'MEMORY', text: (report) => formatBytes(report.memoryBytes), align: 'right' },
  { header: 'VCPUS', text: (report) => String(report.vcpus), align: 'right' },
  {
    header: 'EPOCH',
    text: (report) => (report.placementEpoch === 0n ? NONE : report.placementEpoch.toString()),
    align: 'right',
  },
  { header: 'ID', text: (report) => report.vmId, wide: true },
];

const conditionColumns = (nowMs: number): readonly Column<NodeCondition>[] => [
  { header: 'CONDITION', text: (condition) => wordOf(NodeConditionType, condition.type), colour: () => 'yellow' },
  { header: 'SINCE', text: (condition) => formatAge(condition.since, nowMs), align: 'right' },
  { header: 'DETAIL', text: (condition) => condition.detail, shrinks: true },
];

const figureColumns: readonly Column<FigureAge>[] = [
  { header: 'COLLECTOR', text: (figure) => figure.collector },
  { header: 'AGE', text: (figure) => formatDuration(figure.age), align: 'right' },
  { header: 'FAILURE', text: (figure) => figure.failure, shrinks: true },
];

const networkColumns: readonly Column<NodeNetwork>[] = [
  { header: 'NETWORK', text: (network) => network.name },
  { header: 'BRIDGE', text: (network) => network.bridge },
  { header: 'READY', text: ({ ready }) => (ready ? 'yes' : 'no'), colour: ({ ready }) => (ready ? 'green' : 'red') },
  { header: 'DETAIL', text: (network) => network.detail, shrinks: true },
];

function factsOf(node: Node, page: Page): string {
  const judgement = judgementOf(node);
  const memory = node.figures?.memory;
  const cpu = node.figures?.cpu;
  const labels = Object.entries(node.labels).map(([key, value]) => `${key}=${value}`);
  return renderFacts(
    [
      ['Node', node.name],
      ['State', judgement, colourOfState(judgement)],
      ['Judgement', node.judgementDetail],
      ['Mode', modeOf(node), colourOfState(modeOf(node))],
      ['Ready', node.ready ? 'yes' : 'no', node.ready ? 'green' : 'red'],
      ['Not ready', node.notReadyReason],
      ['Fenced by', node.fencedBy],
      ['Fencing', fenceabilityOf(node), colourOfState(fenceabilityOf(node))],
      ['  why', node.fenceabilityDetail],
      ['Address', node.address],
      ['Host UUID', node.hostUuid],
      ['Incarnation', node.incarnation.toString()],
      ['Heartbeat', node.heartbeatAge === undefined ? '' : `${formatDuration(node.heartbeatAge)} ago`],
      ['Memory', memory === undefined ? '' : formatBytes(memory.totalBytes)],
      ['  used', memory === undefined ? '' : formatBytes(memory.usedBytes)],
      ['  available', memory === undefined ? '' : formatBytes(memory.availableBytes)],
      ['  allocated', memory === undefined ? '' : formatBytes(memory.allocatedBytes)],
      ['  provisioned', memory === undefined ? '' : formatBytes(memory.provisionedBytes)],
      ['  promised', memory === undefined ? '' : formatBytes(memory.promisedBytes)],
      ['  huge pages', hugepagesOf(node)],
      ['CPUs', cpu === undefined ? '' : `${String(cpu.total)}, load ${cpu.load.toFixed(2)}`],
      ['  vCPUs', cpu === undefined ? '' : vcpusOf(cpu)],
      ['Ceph', cephOf(node)],
      ['Labels', labels.join(', ')],
      ['Agent', node.agentVersion],
      ['Hypervisor', node.hypervisorVersion],
    ],
    page.paint,
  );
}

/** Empty where the host has set none aside. */
function hugepagesOf({ figures }: Node): string {
  const { hugepagesTotalBytes = 0n, hugepagesFreeBytes = 0n } = figures?.memory ?? {};
  if (hugepagesTotalBytes === 0n) return '';
  return `${formatBytes(hugepagesTotalBytes)}, ${formatBytes(hugepagesFreeBytes)} of it free`;
}

function cephOf({ ceph }: Node): string {
  if (ceph === undefined) return '';
  const { health, detail, osdsUp, osdsIn, osdsTotal, usedBytes, totalBytes } = ceph;
  const osds = `${String(osdsUp)} up and ${String(osdsIn)} in of ${String(osdsTotal)} OSDs`;
  const why = detail === '' ? '' : ` (${detail})`;
  return `${health}${why}, ${osds}, ${formatBytes(usedBytes)} used of ${formatBytes(totalBytes)}`;
}

function vcpusOf(cpu: { allocated: number; provisioned: number; promised: number }): string {
  return `${String(cpu.allocated)} allocated, ${String(cpu.provisioned)} provisioned, ${String(cpu.promised)} promised`;
}

/** A node with the VMs its agent reports. */
export const nodeWithVmsView: View<GetNodeResponse> = {
  columns: () => [{ header: 'NAME', text: (answer) => answer.node?.name ?? NONE }],
  name: (answer) => answer.node?.name ?? '',
  toJson: (answer) => GetNodeResponse.toJSON(answer),
  details: (answer, page) => {
    if (answer.node === undefined) return '';
    const parts = [factsOf(answer.node, page)];
    const { conditions, figures, networks } = answer.node;
    if (conditions.length > 0) parts.push(page.table(conditionColumns(page.nowMs), conditions));
    const late = figures?.ages.filter((figure) => figure.failure !== '') ?? [];
    if (late.length > 0) parts.push(page.table(figureColumns, late));
    if (networks.length > 0) parts.push(page.table(networkColumns, networks));
    if (answer.vms.length > 0) parts.push(page.table(reportColumns, answer.vms));
    return parts.join('\n');
  },
};
