// SPDX-License-Identifier: Apache-2.0
import {
  EvidenceSource,
  Fenceability,
  NodeEvidence,
  NodeJudgement,
  type Evidence,
  type FenceabilityCheck,
} from '@lockstep/sdk/v1';
import type { View } from '../print.js';
import { renderFacts, type Column } from '../table.js';
import { formatDuration, NONE } from '../units.js';
import { colourOfState, wordOf } from '../words.js';

const judgementOf = (evidence: NodeEvidence): string => wordOf(NodeJudgement, evidence.judgement);
const fenceabilityOf = (evidence: NodeEvidence | FenceabilityCheck): string => wordOf(Fenceability, evidence.fenceability);
const throwsOf = (evidence: NodeEvidence): string =>
  evidence.throwsTotal === 0 ? NONE : `${String(evidence.throwsMissed)}/${String(evidence.throwsTotal)}`;

const columns: readonly Column<NodeEvidence>[] = [
  { header: 'NODE', text: (evidence) => evidence.node },
  { header: 'JUDGEMENT', text: judgementOf, colour: (evidence) => colourOfState(judgementOf(evidence)) },
  { header: 'MISSED', text: throwsOf, align: 'right' },
  { header: 'FENCING', text: fenceabilityOf, colour: (evidence) => colourOfState(fenceabilityOf(evidence)) },
  { header: 'RULE', text: (evidence) => evidence.rule, shrinks: true },
];

const observationColumns: readonly Column<Evidence>[] = [
  { header: 'SOURCE', text: (observation) => wordOf(EvidenceSource, observation.source) },
  { header: 'OBSERVER', text: (observation) => observation.observer },
  { header: 'NETWORK', text: (observation) => observation.network },
  {
    header: 'ALIVE',
    text: (observation) => (observation.alive ? 'yes' : 'no'),
    colour: (observation) => (observation.alive ? 'green' : 'red'),
  },
  { header: 'AGE', text: (observation) => formatDuration(observation.age), align: 'right' },
  { header: 'DETAIL', text: (observation) => observation.detail, shrinks: true },
];

const checkColumns: readonly Column<FenceabilityCheck>[] = [
  { header: 'CHECKED BY', text: (check) => check.observer },
  { header: 'FENCING', text: fenceabilityOf, colour: (check) => colourOfState(fenceabilityOf(check)) },
  { header: 'AGE', text: (check) => formatDuration(check.age), align: 'right' },
  { header: 'DETAIL', text: (check) => check.detail, shrinks: true },
];

export const evidenceView: View<NodeEvidence> = {
  columns: () => columns,
  name: (evidence) => evidence.node,
  toJson: (evidence) => NodeEvidence.toJSON(evidence),
  details: (evidence, page) => {
    const judgement = judgementOf(evidence);
    const facts = renderFacts(
      [
        ['Node', evidence.node],
        ['Judgement', judgement, colourOfState(judgement)],
        ['Rule', evidence.rule],
        ['Throws missed', throwsOf(evidence)],
        ['Fencing', fenceabilityOf(evidence), colourOfState(fenceabilityOf(evidence))],
        ['Fencing, why', evidence.fenceabilityDetail],
      ],
      page.paint,
    );
    const parts = [facts];
    if (evidence.evidence.length > 0) parts.push(page.table(observationColumns, evidence.evidence));
    if (evidence.fenceabilityChecks.length > 0) parts.push(page.table(checkColumns, evidence.fenceabilityChecks));
    return parts.join('\n');
  },
};
