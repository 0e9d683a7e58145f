// SPDX-License-Identifier: Apache-2.0
import { Selector, Vm, VmDesired, VmState } from '@lockstep/sdk/v1';
import type { Page, View } from '../print.js';
import { renderFacts, type Column } from '../table.js';
import { formatAge, formatBytes, formatDuration, formatMs, NONE } from '../units.js';
import { colourOfState, wordOf } from '../words.js';

export const vmState = (vm: Vm): string => wordOf(VmState, vm.status?.state ?? VmState.UNSPECIFIED);
const vmDesired = (vm: Vm): string => wordOf(VmDesired, vm.desired);

/** The node that may run it. */
const nodeOf = (vm: Vm): string => vm.placement?.node ?? vm.homeNode;
const memoryOf = (vm: Vm): string => (vm.spec === undefined ? NONE : formatBytes(vm.spec.memoryBytes));
const epochOf = (vm: Vm): string => (vm.placement === undefined ? NONE : vm.placement.epoch.toString());

const columns = (nowMs: number): readonly Column<Vm>[] => [
  { header: 'NAME', text: (vm) => vm.name },
  { header: 'STATE', text: vmState, colour: (vm) => colourOfState(vmState(vm)) },
  { header: 'DESIRED', text: vmDesired },
  { header: 'NODE', text: nodeOf },
  { header: 'MEMORY', text: memoryOf, align: 'right' },
  { header: 'VCPUS', text: (vm) => String(vm.spec?.vcpus ?? NONE), align: 'right' },
  { header: 'AGE', text: (vm) => formatAge(vm.createTime, nowMs), align: 'right' },
  { header: 'ID', text: (vm) => vm.id, wide: true },
  { header: 'HOME', text: (vm) => vm.homeNode, wide: true },
  { header: 'EPOCH', text: epochOf, align: 'right', wide: true },
  { header: 'SEEN', text: (vm) => formatDuration(vm.status?.age), align: 'right', wide: true },
  { header: 'REASON', text: (vm) => vm.status?.reason ?? '', wide: true, shrinks: true },
];

function details(vm: Vm, page: Page): string {
  const { spec, status, placement } = vm;
  const state = vmState(vm);
  return renderFacts(
    [
      ['VM', vm.name],
      ['ID', vm.id],
      ['State', state, colourOfState(state)],
      ['Reason', status?.reason ?? ''],
      ['Detail', status?.detail ?? ''],
      ['Desired', vmDesired(vm)],
      ['Node', nodeOf(vm)],
      ['Home', vm.homeNode],
      ['Migration', placement?.migrationId ?? ''],
      ['Placement epoch', epochOf(vm)],
      ['Memory', memoryOf(vm)],
      ['Memory used', status === undefined || status.memoryUsedBytes === 0n ? '' : formatBytes(status.memoryUsedBytes)],
      ['vCPUs', String(spec?.vcpus ?? '')],
      ['CPU time', status === undefined || status.cpuTimeNs === 0n ? '' : formatMs(Number(status.cpuTimeNs) / 1e6)],
      ['Node limit', spec?.nodeLimit.join(', ') ?? ''],
      ['Selector', wordOf(Selector, spec?.selector ?? Selector.UNSPECIFIED)],
      ['Shutdown limit', formatDuration(spec?.shutdownLimit)],
      ['Pause budget', formatDuration(spec?.pauseBudget)],
      ['Post-copy', spec?.allowPostCopy === true ? 'allowed' : ''],
      ['Max restart', spec?.maxRestart?.toString() ?? ''],
      ['Max relocate', spec?.maxRelocate?.toString() ?? ''],
      ['Priority', spec === undefined || spec.priority === 0 ? '' : String(spec.priority)],
      ['Reported', status?.age === undefined ? '' : `${formatDuration(status.age)} ago, by ${status.node}`],
      ['Defined', vm.createTime?.toISOString() ?? ''],
      ['Updated', vm.updateTime?.toISOString() ?? ''],
    ],
    page.paint,
  );
}

export const vmView: View<Vm> = {
  columns,
  name: (vm) => vm.name,
  toJson: (vm) => Vm.toJSON(vm),
  details,
};
