// SPDX-License-Identifier: Apache-2.0
import { FenceActionState, FenceDrillState, NodeJudgement } from '@lockstep/sdk/v1';
import { isFenceEnded } from '../core/fencing/transitions.js';
import { enumLabels } from '../platform/metrics/enum-labels.js';
import { silentMetrics } from '../platform/metrics/metrics.js';
import type { FencerLeading } from './leading.js';

const judgements = enumLabels(NodeJudgement);
const states = enumLabels(FenceActionState);
/** Of a cluster as large as any is. */
const NODES = { most: 1_000 };

/** Shows what the leader knows, for as long as it leads. */
export function countFencing({ env, term, streams, judging, actions, drills, settings }: FencerLeading): void {
  const metrics = env.metrics ?? silentMetrics;
  const judgement = metrics.gauge({
    name: 'lockstep_fencer_node_judgement',
    help: 'How a node is judged: 1 at the judgement that holds.',
    labels: { node: NODES, judgement: judgements.all },
  });
  const missed = metrics.gauge({
    name: 'lockstep_fencer_throws_missed',
    help: 'Saving throws that a node has missed.',
    labels: { node: NODES },
  });
  const recorded = metrics.gauge({
    name: 'lockstep_fence_actions',
    help: 'Fence actions on record at the leader, by state.',
    labels: { state: states.all },
  });
  const unproven = metrics.gauge({
    name: 'lockstep_fence_actions_open',
    help: 'Fence actions that have not ended.',
  });
  const drillEnd = metrics.gauge({
    name: 'lockstep_fence_drill_timestamp_seconds',
    help: "When a node's ladder was last tested, by the wall clock; 0: never.",
    labels: { node: NODES },
  });
  const drillPassed = metrics.gauge({
    name: 'lockstep_fence_drill_passed',
    help: "Whether the last test of a node's ladder passed.",
    labels: { node: NODES },
  });
  const drillEvery = metrics.gauge({
    name: 'lockstep_fence_drill_interval_seconds',
    help: "How often each node's ladder is tested by itself; 0: only when somebody asks.",
  });
  const all = [judgement, missed, recorded, unproven, drillEnd, drillPassed, drillEvery];
  const unshow = metrics.onScrape(() => {
    judgement.reset();
    missed.reset();
    drillEnd.reset();
    drillPassed.reset();
    drillEvery.set({}, settings.drillEveryMs / 1_000);
    for (const { name } of streams.nodes()) {
      const drill = drills.get(name)?.record;
      drillEnd.set({ node: name }, (drill?.endTime?.getTime() ?? 0) / 1_000);
      if (drill !== undefined && drill.state !== FenceDrillState.RUNNING) {
        drillPassed.set({ node: name }, drill.state === FenceDrillState.PASSED ? 1 : 0);
      }
      const verdict = judging.verdictOf(name);
      if (verdict === undefined) continue;
      judgement.set({ node: name, judgement: judgements.of(verdict.judgement) }, 1);
      missed.set({ node: name }, verdict.throwsMissed);
    }
    const counts = new Map(states.all.map((label) => [label, 0]));
    for (const { record } of actions.all()) counts.set(states.of(record.state), (counts.get(states.of(record.state)) ?? 0) + 1);
    for (const [state, count] of counts) recorded.set({ state }, count);
    unproven.set({}, actions.all().filter(({ record }) => !isFenceEnded(record.state)).length);
  });
  term.ended.addEventListener(
    'abort',
    () => {
      unshow();
      for (const gauge of all) gauge.reset();
    },
    { once: true },
  );
}
