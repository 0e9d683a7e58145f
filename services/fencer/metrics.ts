// SPDX-License-Identifier: Apache-2.0
import { FenceActionState, NodeJudgement } from '@lockstep/sdk/v1';
import { isFenceEnded } from '../core/fencing/transitions.js';
import { enumLabels } from '../platform/metrics/enum-labels.js';
import { silentMetrics } from '../platform/metrics/metrics.js';
import type { FencerLeading } from './leading.js';

const judgements = enumLabels(NodeJudgement);
const states = enumLabels(FenceActionState);
/** Of a cluster as large as any is. */
const NODES = { most: 1_000 };

/** Shows what the leader knows, for as long as it leads. */
export function countFencing({ env, term, streams, judging, actions }: FencerLeading): void {
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
  const unshow = metrics.onScrape(() => {
    judgement.reset();
    missed.reset();
    for (const { name } of streams.nodes()) {
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
      for (const gauge of [judgement, missed, recorded, unproven]) gauge.reset();
    },
    { once: true },
  );
}
