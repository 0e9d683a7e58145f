// SPDX-License-Identifier: Apache-2.0
import { FenceAction, FenceActionState, Node, NodeEvidence, NodeJudgement, Vm, VmState } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { DrillTimeline, type DrillPlan } from './timeline.js';

const on = (node: string, state: VmState = VmState.RUNNING): Vm =>
  Vm.fromPartial({ id: 'id-web', name: 'web', placement: { node }, status: { state, node } });

const plan: DrillPlan = {
  node: 'h2',
  incarnation: 4n,
  command: 'crash h2',
  vms: [{ vm: on('h2'), expected: 'runs', forecast: 'h3' }],
  waitBack: false,
};

function played(over: Partial<DrillPlan> = {}) {
  const clock = { ms: 500 };
  const lines: string[] = [];
  const timeline = new DrillTimeline({ ...plan, ...over }, () => clock.ms, (line) => lines.push(line));
  return { timeline, clock, lines };
}

const proof = FenceAction.fromPartial({
  ...{ id: 'a1', node: 'h2', incarnation: 4n, state: FenceActionState.CONFIRMED, automatic: true, proof: 'it reads off' },
  attempts: [{ rung: 'power-off' }, { rung: 'read-back', proven: true }],
});

describe('the times of a drill', () => {
  it('count from the kill, and what was seen before it counts for nothing', () => {
    const { timeline, clock } = played();
    timeline.sawEvidence(NodeEvidence.fromPartial({ node: 'h2', throwsMissed: 1 }));
    timeline.sawVm(on('h3'));
    timeline.begin();
    clock.ms = 1_500;
    timeline.sawEvidence(NodeEvidence.fromPartial({ node: 'h2', judgement: NodeJudgement.SUSPECT, throwsMissed: 1, rule: 'throws left: 1/6' }));
    clock.ms = 3_500;
    timeline.sawAction(proof);
    expect(timeline.isOver()).toBe(false);
    clock.ms = 5_500;
    timeline.sawVm(on('h3', VmState.STARTING));
    expect(timeline.isOver()).toBe(false);
    clock.ms = 6_000;
    timeline.sawVm(on('h3'));
    expect(timeline.isOver()).toBe(true);
    expect(timeline.report()).toMatchObject({
      suspected: { afterMs: 1_000, rule: 'throws left: 1/6' },
      proven: { afterMs: 3_000, rung: 'read-back', proof: 'it reads off' },
      vms: [{ name: 'web', node: 'h3', state: 'RUNNING', afterMs: 5_500 }],
      passed: true,
    });
  });

  it('are of this death alone: an action of another life proves nothing', () => {
    const { timeline } = played();
    timeline.begin();
    timeline.sawAction({ ...proof, incarnation: 3n });
    timeline.sawAction({ ...proof, node: 'h1' });
    expect(timeline.report().proven).toBeUndefined();
  });

  it('do not take the last report of the dead host for a VM that runs', () => {
    const { timeline } = played();
    timeline.begin();
    timeline.sawVm(on('h2'));
    expect(timeline.report().vms[0]?.afterMs).toBeUndefined();
    timeline.sawNode(Node.fromPartial({ name: 'h2', incarnation: 5n, ready: true }));
    expect(timeline.report().vms[0]?.afterMs).toBeDefined();
    // It runs again, and nothing was proven: that is no drill that passed.
    expect(timeline.report().passed).toBe(false);
  });

  it('end with the return of the node only where that is waited for', () => {
    const { timeline } = played({ waitBack: true, vms: [] });
    timeline.begin();
    timeline.sawAction(proof);
    expect(timeline.isOver()).toBe(false);
    timeline.sawNode(Node.fromPartial({ name: 'h2', incarnation: 5n, ready: false }));
    expect(timeline.isOver()).toBe(false);
    timeline.sawNode(Node.fromPartial({ name: 'h2', incarnation: 5n, ready: true }));
    expect(timeline.isOver()).toBe(true);
    expect(timeline.report().passed).toBe(true);
  });

  it('hold no suspicion where the Fencer was asked, and end where it failed', () => {
    const { timeline } = played({ command: undefined });
    timeline.begin();
    timeline.sawEvidence(NodeEvidence.fromPartial({ node: 'h2', judgement: NodeJudgement.DEAD_UNPROVEN, throwsMissed: 6 }));
    expect(timeline.report().suspected).toBeUndefined();
    timeline.sawAction({ ...proof, state: FenceActionState.FAILED });
    expect(timeline.isOver()).toBe(true);
    expect(timeline.report().passed).toBe(false);
  });
});
