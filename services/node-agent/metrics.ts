// SPDX-License-Identifier: Apache-2.0
import { NodeConditionType, VmState, type Node, type VmReport } from '@lockstep/sdk/v1';
import { milliseconds } from '../core/duration.js';
import { enumLabels } from '../platform/metrics/enum-labels.js';
import type { Metrics } from '../platform/metrics/metrics.js';
import type { Pass } from './collector.js';

/** What an agent counts. */
export interface AgentMetrics {
  /** A collector's pass has ended. */
  collected(pass: Pass): void;
  /** Something of a network was put back as it should be. */
  repaired(): void;
  /** A heartbeat to a watcher, a renewal of the lease, or the tick that all looks begin with, came this much later than planned. */
  late(loop: 'heartbeat' | 'renewal' | 'tick', latenessMs: number): void;
  /** From now on the node is shown as it presents itself at every scrape. */
  show(presence: { node(): Node; vms(): VmReport[] }): void;
}

/** More VMs than a node holds: past it the rest is shown as one, and the counts by state stay true. */
const MOST_VMS = 2_000;
const COLLECTORS = ['vms', 'usage', 'host', 'ceph', 'bridges', 'bmc'];
const LATENESS_SECONDS = [0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5, 15];
const MEMORY_KINDS = ['total', 'used', 'free', 'available', 'allocated', 'provisioned', 'promised'] as const;
const HUGEPAGE_KINDS = ['total', 'free'] as const;
const VCPU_KINDS = ['total', 'allocated', 'provisioned', 'promised'] as const;

const vmStates = enumLabels(VmState);
const conditions = enumLabels(NodeConditionType);

export function agentMetrics(metrics: Metrics): AgentMetrics {
  const passSeconds = metrics.histogram({
    name: 'lockstep_collector_pass_seconds',
    help: 'How long a pass of a collector takes.',
    labels: { collector: COLLECTORS },
  });
  const failures = metrics.counter({
    name: 'lockstep_collector_failures_total',
    help: 'Passes of a collector that failed: in time, or because time ran out.',
    labels: { collector: COLLECTORS, why: ['timeout', 'error'] },
  });
  const lateness = metrics.histogram({
    name: 'lockstep_heartbeat_lateness_seconds',
    help: 'How much later than planned heartbeats and renewals of the lease are sent and ticks begin.',
    labels: { loop: ['heartbeat', 'renewal', 'tick'] },
    buckets: LATENESS_SECONDS,
  });
  const repairs = metrics.counter({
    name: 'lockstep_network_repairs_total',
    help: 'Times that links of networks were put back as they should be.',
  });
  return {
    repaired: () => {
      repairs.add({});
    },
    collected: ({ collector, tookMs, ended }) => {
      passSeconds.observe({ collector }, tookMs / 1_000);
      if (ended !== 'good') failures.add({ collector, why: ended });
    },
    late: (loop, latenessMs) => {
      lateness.observe({ loop }, Math.max(0, latenessMs) / 1_000);
    },
    show: (presence) => {
      const showFigures = figureGauges(metrics);
      const showVms = vmGauges(metrics);
      metrics.onScrape(() => { showFigures(presence.node()); });
      metrics.onScrape(() => { showVms(presence.vms()); });
    },
  };
}

function figureGauges(metrics: Metrics): (node: Node) => void {
  const memory = metrics.gauge({
    name: 'lockstep_node_memory_bytes',
    help: "The node's memory, and what VMs take of it.",
    labels: { kind: MEMORY_KINDS },
  });
  const hugepages = metrics.gauge({
    name: 'lockstep_node_hugepages_bytes',
    help: "The part of the node's memory that is set aside as huge pages, and what of it nobody has taken.",
    labels: { kind: HUGEPAGE_KINDS },
  });
  const vcpus = metrics.gauge({
    name: 'lockstep_node_vcpus',
    help: "The node's CPUs (total), and the vCPUs of its VMs.",
    labels: { kind: VCPU_KINDS },
  });
  const load = metrics.gauge({ name: 'lockstep_node_load', help: 'Load average over one minute.' });
  const holds = metrics.gauge({
    name: 'lockstep_node_condition',
    help: '1 where the condition holds.',
    labels: { condition: conditions.all },
  });
  const osds = metrics.gauge({
    name: 'lockstep_ceph_osds',
    help: "The storage cluster's OSDs as seen from here; none where the host has no Ceph.",
    labels: { state: ['up', 'down', 'in', 'total'] },
  });
  const age = metrics.gauge({
    name: 'lockstep_collector_age_seconds',
    help: "Age of a collector's last good value.",
    labels: { collector: COLLECTORS },
  });
  return ({ figures, conditions: held, ceph }) => {
    const { osdsTotal = 0, osdsUp = 0, osdsIn = 0 } = ceph ?? {};
    const counts = { up: osdsUp, down: osdsTotal - osdsUp, in: osdsIn, total: osdsTotal };
    for (const [state, count] of Object.entries(counts)) osds.set({ state }, count);
    for (const kind of MEMORY_KINDS) memory.set({ kind }, Number(figures?.memory?.[`${kind}Bytes`] ?? 0n));
    hugepages.set({ kind: 'total' }, Number(figures?.memory?.hugepagesTotalBytes ?? 0n));
    hugepages.set({ kind: 'free' }, Number(figures?.memory?.hugepagesFreeBytes ?? 0n));
    for (const kind of VCPU_KINDS) vcpus.set({ kind }, figures?.cpu?.[kind] ?? 0);
    load.set({}, figures?.cpu?.load ?? 0);
    const now = new Set(held.map(({ type }) => conditions.of(type)));
    for (const condition of conditions.all) holds.set({ condition }, now.has(condition) ? 1 : 0);
    for (const { collector, age: since } of figures?.ages ?? []) {
      if (since !== undefined) age.set({ collector }, milliseconds(since, 0) / 1_000);
    }
  };
}

function vmGauges(metrics: Metrics): (vms: readonly VmReport[]) => void {
  const count = metrics.gauge({
    name: 'lockstep_node_vms',
    help: 'VMs known to the node, by state.',
    labels: { state: vmStates.all },
  });
  const state = metrics.gauge({
    name: 'lockstep_vm_state',
    help: '1 with the state that the VM is in.',
    labels: { vm: { most: MOST_VMS }, state: vmStates.all },
  });
  return (vms) => {
    state.reset();
    const counts = new Map(vmStates.all.map((label) => [label, 0]));
    for (const { vmId, status } of vms) {
      const label = vmStates.of(status?.state);
      counts.set(label, (counts.get(label) ?? 0) + 1);
      state.set({ vm: vmId, state: label }, 1);
    }
    for (const [label, vmsInIt] of counts) count.set({ state: label }, vmsInIt);
  };
}
