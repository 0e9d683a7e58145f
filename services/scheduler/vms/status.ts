// SPDX-License-Identifier: Apache-2.0
import { MigrationMode, VmDesired, VmState, type Vm, type VmStatus } from '@lockstep/sdk/v1';
import { isTerminal } from '../../core/migration/transitions.js';
import { durationOf } from '../../core/duration.js';
import type { Leading } from '../term.js';

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
  if (node?.connected !== true) {
    return {
      ...base,
      state: VmState.UNKNOWN,
      reason: 'NODE_UNREACHABLE',
      detail: `${nodeName} does not answer; it was last ${stateName(base.state)}`,
    };
  }
  if (report !== undefined) return { ...base, node: nodeName };
  // Assigned, and its node has not taken the assignment in yet.
  return { ...base, state: vm.desired === VmDesired.RUNNING ? VmState.STARTING : VmState.STOPPED };
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
