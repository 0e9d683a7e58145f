// SPDX-License-Identifier: Apache-2.0
import { VmState, type VmReport } from '@lockstep/sdk/v1';
import type { Domain, DomainUsage } from '../platform/hypervisor/hypervisor.js';
import { runsVcpus, stateOf } from './domain-states.js';
import { durationOf } from '../core/duration.js';
import { isIncoming } from './facts.js';
import type { VmNotes } from './memory-document.js';
import type { KnownBetter } from './vm-worker.js';

export interface ReportInput {
  node: string;
  domain: Domain;
  usage: DomainUsage | undefined;
  notes: Readonly<VmNotes>;
  known: KnownBetter | undefined;
  /** Since the domain was last listed. */
  ageMs: number;
}

/** One VM as this agent sees it: its domain, and what the agent knows better. Pure. */
export function vmReport({ node, domain, usage, notes, known: better, ageMs }: ReportInput): VmReport {
  const { state, detail } = stateAndDetail(domain, notes);
  const running = runsVcpus(domain.state);
  // The two are looked at apart: an end that only one of them has seen yet is told when both have.
  const outdated = better?.state === VmState.CRASHED || better?.reason === 'RESTARTS_EXHAUSTED';
  const known = running && outdated ? undefined : better;
  return {
    vmId: domain.uuid,
    name: domain.name,
    placementEpoch: domain.placementEpoch ?? 0n,
    memoryBytes: domain.maxMemoryBytes,
    vcpus: domain.vcpus,
    rbdImages: [...(domain.rbdImages ?? [])],
    running,
    status: {
      state: known?.state ?? state,
      reason: known?.reason ?? '',
      detail: known?.detail ?? detail,
      node,
      age: durationOf(ageMs),
      memoryUsedBytes: running ? (usage?.memoryUsedBytes ?? 0n) : 0n,
      cpuTimeNs: usage?.cpuTimeNs ?? 0n,
    },
  };
}

/** Stands for a domain that is not here, of a VM that is to be here under this placement epoch. */
export function absentDomain(vmId: string, notes: Readonly<VmNotes>, placementEpoch?: bigint): Domain {
  return {
    uuid: vmId,
    name: '',
    state: { state: 'off', reason: 'other' },
    persistent: false,
    placementEpoch,
    maxMemoryBytes: notes.assignment?.memoryBytes ?? 0n,
    vcpus: notes.assignment?.vcpus ?? 0,
  };
}

function stateAndDetail(domain: Domain, notes: Readonly<VmNotes>): { state: VmState; detail: string } {
  if (notes.armed?.closed === false && isIncoming(domain)) {
    return { state: VmState.MIGRATING, detail: 'incoming, paused until it is committed' };
  }
  if (notes.outgoing !== undefined && domain.state.state !== 'off') {
    return { state: VmState.MIGRATING, detail: 'on its way to another node' };
  }
  if (domain.placementEpoch === undefined) {
    return { state: VmState.UNMANAGED, detail: `not under the cluster's care; ${domain.state.state}` };
  }
  return { state: stateOf(domain), detail: detailOf(domain) };
}

function detailOf({ state }: Domain): string {
  if (state.state === 'paused') {
    switch (state.reason) {
      case 'user':
        return 'paused by its user';
      case 'io-error':
        return 'paused by an I/O error of its storage';
      case 'migration':
        return 'left standing by a migration; nobody resumes it without an order';
      case 'starting-up':
      case 'post-copy-failed':
      case 'other':
        return `paused (${state.reason})`;
    }
  }
  return state.state === 'off' ? `off (${state.reason})` : '';
}

/** Whether a watcher would notice a difference between two messages: ages grow by themselves and are none. */
export function sameButAges<T>(one: T, other: T): boolean {
  if (Object.is(one, other)) return true;
  if (typeof one !== 'object' || typeof other !== 'object' || one === null || other === null) return false;
  if (one instanceof Date && other instanceof Date) return one.getTime() === other.getTime();
  // A heartbeat must not cost a JSON text of each VM.
  const fields = Object.keys(one) as (keyof T)[];
  return (
    fields.length === Object.keys(other).length &&
    fields.every((field) => field === 'age' || sameButAges(one[field], other[field]))
  );
}
