// SPDX-License-Identifier: Apache-2.0
import { Vm, VmReport } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { countVms } from './count.js';

const vm = (id: string, node: string) =>
  Vm.fromPartial({ id, spec: { memoryBytes: 100n, vcpus: 2 }, placement: { node, epoch: 1n } });
const report = (vmId: string, running: boolean) =>
  VmReport.fromPartial({ vmId, running, memoryBytes: 77n, vcpus: 1 });
const size = { memoryBytes: 100n, vcpus: 2, hugepages: [] };

describe('counting VMs', () => {
  it('counts a VM where its placement is, whether or not its agent has it', () => {
    const reports = new Map([['h1', [report('a', true)]]]);
    expect(countVms({ records: [vm('a', 'h1'), vm('b', 'h2')], reports, moves: [] })).toEqual({
      vms: [
        { id: 'a', node: 'h1', running: true, ...size },
        { id: 'b', node: 'h2', running: false, ...size },
      ],
      promises: [],
    });
  });

  it('counts a moving VM on its source, and as a promise on its target, where its incoming copy adds nothing', () => {
    const reports = new Map([
      ['h1', [report('a', true)]],
      ['h2', [report('a', true)]],
    ]);
    expect(countVms({ records: [vm('a', 'h1')], reports, moves: [{ vmId: 'a', target: 'h2' }] })).toEqual({
      vms: [{ id: 'a', node: 'h1', running: true, ...size }],
      promises: [{ id: 'a', node: 'h2', ...size }],
    });
  });

  it('keeps no promise once the placement is the target', () => {
    const moves = [{ vmId: 'a', target: 'h2' }];
    const { vms, promises } = countVms({ records: [vm('a', 'h2')], reports: new Map(), moves });
    expect(vms).toEqual([{ id: 'a', node: 'h2', running: false, ...size }]);
    expect(promises).toEqual([]);
  });

  it('counts what nobody has on record where it was found, and a copy that runs at a wrong place', () => {
    const reports = new Map([['h3', [report('stranger', false), report('a', true), report('b', false)]]]);
    expect(countVms({ records: [vm('a', 'h1'), vm('b', 'h1')], reports, moves: [] }).vms).toEqual([
      { id: 'stranger', node: 'h3', running: false, memoryBytes: 77n, vcpus: 1 },
      { id: 'a', node: 'h3', running: true, ...size },
      { id: 'a', node: 'h1', running: false, ...size },
      { id: 'b', node: 'h1', running: false, ...size },
    ]);
  });

  it('leaves out a VM that has no place yet', () => {
    expect(countVms({ records: [vm('a', '')], reports: new Map(), moves: [] }).vms).toEqual([]);
  });
});
