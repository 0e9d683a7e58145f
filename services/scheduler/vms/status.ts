// SPDX-License-Identifier: Apache-2.0
import { MigrationMode, VmDesired, VmState, type Vm, type VmStatus } from '@lockstep/sdk/v1';
import { isTerminal } from '../../core/migration/transitions.js';
import { durationOf } from '../../core/duration.js';
import type { NodeView } from '../../membership/node-streams.js';
import type { Leading } from '../term.js';
import { leftAlone } from './left-alone.js';

/** A VM's record with what is known of it right now, from its node's stream and from its open migration. */
export function withStatus(leading: Leading, vm: Vm): Vm {
  return { ...vm, status: statusOf(leading, vm) };
}

function statusOf(leading: Leading, vm: Vm): VmStatus {
  const nodeName = vm.placement?.node ?? '';
  const node = leading.nodes.node(nodeName);
  const report = node?.report?.vms.get(vm.id);
  const ageMs = node?.lastMessageAtMs === undefined ? undefined : leading.env.clock.nowMs() - node.lastMessageAtMs;
  const base: VmStatus = {
    state: VmState.UNKNOWN,
    age: undefined,
    reason: '',
    detail: '',
    node: nodeName,
    memoryUsedBytes: 0n,
    cpuTimeNs: 0n,
    ...report?.status,
    // How long ago its node said anything, by this process's own clock.
    ...(ageMs === undefined ? {} : { age: durationOf(ageMs) }),
  };
  const moving = movingState(leading, vm);
  if (moving !== undefined) return { ...base, state: moving };
  const { trouble } = vm;
  if (trouble?.givenUp === true && vm.desired === VmDesired.RUNNING) {
    return { ...base, state: VmState.ERROR, reason: trouble.reason, detail: trouble.detail };
  }
  const noTarget = leading.noTarget.get(vm.id);
  if (noTarget !== undefined && vm.desired === VmDesired.RUNNING) {
    return { ...base, state: VmState.WAITING_TARGET, reason: 'NO_TARGET', detail: `no node can take it: ${noTarget}` };
  }
  const storageHeld = leading.storageHeld.get(vm.id);
  if (storageHeld !== undefined && vm.desired === VmDesired.RUNNING) {
    return { ...base, state: VmState.WAITING_TARGET, ...storageHeld };
  }
  const away = node === undefined ? undefined : ofAwayNode(leading, vm, node, base.state);
  if (away !== undefined) return { ...base, ...away };
  if (node?.connected !== true) {
    return {
      ...base,
      state: VmState.UNKNOWN,
      reason: 'NODE_UNREACHABLE',
      detail: `${nodeName} does not answer; it was last ${stateName(base.state)}`,
    };
  }
  if (report !== undefined) return { ...base, ...heldUp(leading, vm, node, base), node: nodeName };
  // Assigned, and its node has not taken the assignment in yet.
  if (vm.desired !== VmDesired.RUNNING) return { ...base, state: VmState.STOPPED };
  return { ...base, state: VmState.STARTING, ...leading.elsewhere.get(vm.id) };
}

/** Why a VM that shall run is not started: it is left to its owner, may run elsewhere, or its node goes down or is not ready. */
function heldUp(leading: Leading, { id, desired }: Vm, { name, record, report }: NodeView, { state, reason }: VmStatus): Partial<VmStatus> {
  const stands = state === VmState.STOPPED || state === VmState.CRASHED;
  if (desired !== VmDesired.RUNNING || !stands || reason !== '') return {};
  if (leftAlone(leading)) return { reason: 'FENCER_DISARMED', detail: 'all VMs are left to their owners until the Fencer is armed' };
  const elsewhere = leading.elsewhere.get(id);
  if (elsewhere !== undefined) return elsewhere;
  if (record.leaving !== undefined) {
    return { reason: 'NODE_LEAVING', detail: `${name} goes down in order; it waits for its return` };
  }
  if (report?.node.ready !== false) return {};
  return { reason: 'NODE_NOT_READY', detail: `${name} is not ready: ${report.node.notReadyReason}` };
}

/** What is known of a VM whose node is proven off, has left in order, or has lost its lease; undefined: none of these. */
function ofAwayNode(
  { nodes, silentAgents }: Leading,
  { desired }: Vm,
  { name, record, connected, session }: NodeView,
  last: VmState,
): Pick<VmStatus, 'state' | 'reason' | 'detail'> | undefined {
  const wanted = desired === VmDesired.RUNNING;
  if (record.fencedBy !== '') {
    const detail = `${name} is proven off by ${record.fencedBy}`;
    return { state: wanted ? VmState.STARTING : VmState.STOPPED, reason: 'HOST_OFF', detail };
  }
  if (connected || !wanted) return undefined;
  if (record.leaving !== undefined) {
    return { state: VmState.FROZEN, reason: 'NODE_LEAVING', detail: `${name} went down in order; it waits for its return` };
  }
  if (!nodes.loaded() || session !== undefined) return undefined;
  if (silentAgents.has(name)) {
    const detail = `the agent of ${name} is silent, and its host lives; the VM was last ${stateName(last)}, and nobody is fenced for this`;
    return { state: VmState.UNKNOWN, reason: 'NODE_UNREACHABLE', detail };
  }
  const detail = `${name} is silent; it waits for the proof that this host is off`;
  return { state: VmState.WAITING_FENCE, reason: 'NODE_UNREACHABLE', detail };
}

/** How an open migration shows; undefined where none is in progress. */
function movingState(leading: Leading, vm: Vm): VmState | undefined {
  const id = vm.placement?.migrationId ?? '';
  const migration = id === '' ? undefined : leading.migrations.get(id)?.record;
  if (migration === undefined || isTerminal(migration.state)) return undefined;
  return migration.modeRequested === MigrationMode.LIVE_ONLY ? VmState.MIGRATING_LIVE : VmState.MIGRATING;
}

function stateName(state: VmState): string {
  return Object.entries(VmState).find(([, value]) => value === state)?.[0] ?? 'UNKNOWN';
}
