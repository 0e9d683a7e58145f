// SPDX-License-Identifier: Apache-2.0
import type { DrillReport, VmOutcome } from '../../drill/timeline.js';
import type { View } from '../print.js';
import { renderFacts, type Column } from '../table.js';
import { formatMs, NONE } from '../units.js';
import { colourOfState } from '../words.js';

const vmColumns: readonly Column<VmOutcome>[] = [
  { header: 'VM', text: (vm) => vm.name },
  { header: 'EXPECTED', text: (vm) => vm.expected },
  { header: 'FORECAST', text: (vm) => vm.forecast },
  { header: 'STATE', text: (vm) => vm.state, colour: (vm) => colourOfState(vm.state) },
  { header: 'NODE', text: (vm) => vm.node },
  { header: 'AFTER', text: (vm) => after(vm.afterMs), align: 'right' },
  { header: 'DETAIL', text: (vm) => [vm.reason, vm.detail].filter((part) => part !== '').join(': '), shrinks: true },
];

const after = (ms: number | undefined): string => (ms === undefined ? NONE : formatMs(ms));

function suspicionOf({ detectionMeasured, suspected }: DrillReport): string {
  if (!detectionMeasured) return 'not measured, as the Fencer was asked';
  return suspected === undefined ? 'not yet' : `after ${formatMs(suspected.afterMs)}: ${suspected.rule}`;
}

function recoveryOf({ vms }: DrillReport): string {
  const wanted = vms.filter(({ expected }) => expected === 'runs');
  const times = wanted.flatMap(({ afterMs }) => afterMs ?? []);
  const count = `${String(times.length)} of ${String(wanted.length)} VMs`;
  return times.length === 0 ? count : `${count}, the last after ${formatMs(Math.max(...times))}`;
}

/** Times count from the kill. */
export const drillView: View<DrillReport> = {
  columns: () => [
    { header: 'NODE', text: (report) => report.node },
    { header: 'SUSPECTED', text: (report) => after(report.suspected?.afterMs), align: 'right' },
    { header: 'PROVEN', text: (report) => after(report.proven?.afterMs), align: 'right' },
    { header: 'RUNNING AGAIN', text: recoveryOf },
  ],
  name: (report) => report.node,
  toJson: (report) => report,
  details: (report, page) => {
    const { node, killedBy, commandMs, proven, fenceAction, vms, back } = report;
    const took = commandMs === undefined ? '' : ` (took ${formatMs(commandMs)}; times count from its start)`;
    const facts = renderFacts(
      [
        ['Node', node],
        ['Killed by', killedBy + took],
        ['Suspected', suspicionOf(report)],
        ['Proven off', proven === undefined ? 'not yet' : `after ${formatMs(proven.afterMs)} by ${proven.rung}: ${proven.proof}`],
        ['Fence action', fenceAction],
        ['Running again', recoveryOf(report)],
        ['Back', back === undefined ? '' : `after ${formatMs(back.afterMs)}`],
      ],
      page.paint,
    );
    return vms.length === 0 ? facts : `${facts}\n${page.table(vmColumns, vms)}`;
  },
};
