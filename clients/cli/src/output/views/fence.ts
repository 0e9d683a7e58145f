// SPDX-License-Identifier: Apache-2.0
import {
  EvidenceSource,
  FenceAction,
  FenceActionState,
  FenceAttempt,
  FenceDrillState,
  Fenceability,
  NodeEvidence,
  NodeJudgement,
  type Evidence,
  type FenceDrill,
  type FenceabilityCheck,
} from '@lockstep/sdk/v1';
import type { View } from '../print.js';
import { renderFacts, type Column } from '../table.js';
import { formatAge, formatDuration, NONE } from '../units.js';
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
    const { lastDrill } = evidence;
    const judgement = judgementOf(evidence);
    const facts = renderFacts(
      [
        ['Node', evidence.node],
        ['Judgement', judgement, colourOfState(judgement)],
        ['Rule', evidence.rule],
        ['Throws missed', throwsOf(evidence)],
        ['Fencing', fenceabilityOf(evidence), colourOfState(fenceabilityOf(evidence))],
        ['Fencing, why', evidence.fenceabilityDetail],
        ['Last test', lastDrill === undefined ? 'never' : drillOf(lastDrill, page.nowMs)],
      ],
      page.paint,
    );
    const parts = [facts];
    if (evidence.evidence.length > 0) parts.push(page.table(observationColumns, evidence.evidence));
    if (evidence.fenceabilityChecks.length > 0) parts.push(page.table(checkColumns, evidence.fenceabilityChecks));
    if (lastDrill !== undefined && lastDrill.attempts.length > 0) parts.push(page.table(attemptColumns, lastDrill.attempts));
    return parts.join('\n');
  },
};

const drillOf = (drill: FenceDrill, nowMs: number): string => {
  const kind = drill.powerCycle ? 'power cycle' : 'without harm';
  const when = drill.endTime === undefined ? 'since' : 'ago';
  const age = formatAge(drill.endTime ?? drill.startTime, nowMs);
  return `${wordOf(FenceDrillState, drill.state)} (${kind}, ${age} ${when}, by ${drill.requestedBy}): ${drill.detail}`;
};

const actionState = (action: FenceAction): string => wordOf(FenceActionState, action.state);

const actionColumns = (nowMs: number): readonly Column<FenceAction>[] => [
  { header: 'ID', text: (action) => action.id },
  { header: 'NODE', text: (action) => action.node },
  { header: 'STATE', text: actionState, colour: (action) => colourOfState(actionState(action)) },
  { header: 'REASON', text: (action) => action.reason },
  { header: 'AGE', text: (action) => formatAge(action.createTime, nowMs), align: 'right' },
  { header: 'ASKED BY', text: (action) => action.requestedBy, wide: true },
  { header: 'DETAIL', text: (action) => action.detail, shrinks: true },
];

const attemptColumns: readonly Column<FenceAttempt>[] = [
  { header: 'RUNG', text: (attempt) => attempt.rung },
  { header: 'FROM', text: (attempt) => (attempt.observer === '' ? NONE : attempt.observer) },
  { header: 'DEVICE', text: (attempt) => attempt.device },
  {
    header: 'OK',
    text: (attempt) => (attempt.proven ? 'yes' : 'no'),
    colour: (attempt) => (attempt.proven ? 'green' : undefined),
  },
  { header: 'TOOK', text: (attempt) => formatDuration(attempt.duration), align: 'right' },
  { header: 'DETAIL', text: (attempt) => attempt.detail, shrinks: true },
];

export const fenceAttemptView: View<FenceAttempt> = {
  columns: () => attemptColumns,
  name: (attempt) => attempt.rung,
  toJson: (attempt) => FenceAttempt.toJSON(attempt),
};

export const fenceActionView: View<FenceAction> = {
  columns: actionColumns,
  name: (action) => action.id,
  toJson: (action) => FenceAction.toJSON(action),
  details: (action, page) => {
    const state = actionState(action);
    const facts = renderFacts(
      [
        ['Fence action', action.id],
        ['Node', `${action.node}, incarnation ${action.incarnation.toString()}`],
        ['State', state, colourOfState(state)],
        ['Reason', action.reason],
        ['Detail', action.detail],
        ['Asked by', action.requestedBy],
        ['Asked why', action.requestReason],
        ['Released', action.released],
        ['Proof', action.proof, 'green'],
        ['Recovery', action.recovered ? 'the Scheduler took the proof' : ''],
      ],
      page.paint,
    );
    const parts = [facts];
    if (action.attempts.length > 0) parts.push(page.table(attemptColumns, action.attempts));
    if (action.evidence !== undefined && action.evidence.evidence.length > 0) {
      parts.push(page.table(observationColumns, action.evidence.evidence));
    }
    return parts.join('\n');
  },
};
