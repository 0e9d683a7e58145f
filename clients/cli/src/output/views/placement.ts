// SPDX-License-Identifier: Apache-2.0
import { ExplainPlacementResponse, Selector, type PlacementCandidate } from '@lockstep/sdk/v1';
import type { View } from '../print.js';
import type { Column } from '../table.js';
import { formatBytes, NONE } from '../units.js';
import { wordOf } from '../words.js';

/** The filters a node failed, or that it is the one chosen. */
function verdictOf(candidate: PlacementCandidate, chosen: string): string {
  if (candidate.feasible) return candidate.node === chosen ? 'chosen' : 'feasible';
  const failed = candidate.filters.filter((filter) => !filter.passed);
  return failed.map((filter) => `${filter.filter}: ${filter.detail}`).join('; ');
}

const candidateColumns = (explanation: ExplainPlacementResponse): readonly Column<PlacementCandidate>[] => [
  { header: 'NODE', text: (candidate) => candidate.node },
  {
    header: 'FITS',
    text: (candidate) => (candidate.feasible ? 'yes' : 'no'),
    colour: (candidate) => (candidate.feasible ? 'green' : 'red'),
  },
  {
    header: wordOf(Selector, explanation.selector),
    text: (candidate) => (candidate.feasible ? scoreOf(candidate.score, explanation.selector) : NONE),
    align: 'right',
  },
  { header: 'WHY', text: (candidate) => verdictOf(candidate, explanation.node), shrinks: true },
];

/** The selector's figure, in its unit. */
function scoreOf(score: number, selector: Selector): string {
  if (selector === Selector.MEM || selector === Selector.MEMFREE) return formatBytes(score);
  return Number.isInteger(score) ? String(score) : score.toFixed(2);
}

export const placementView: View<ExplainPlacementResponse> = {
  columns: () => [{ header: 'NODE', text: (explanation) => explanation.node }],
  name: (explanation) => explanation.node,
  toJson: (explanation) => ExplainPlacementResponse.toJSON(explanation),
  details: (explanation, page) => page.table(candidateColumns(explanation), explanation.candidates),
};
