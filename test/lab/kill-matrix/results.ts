// SPDX-License-Identifier: Apache-2.0
import type { Results } from '../matrix.js';
import type { Outcome } from './cell.js';
import { FAULTS, keyOf, ROWS, type Cell } from './cells.js';

const SHORT: Record<string, string> = { SUCCEEDED: 'fwd', ABORTED: 'back', FAILED: 'cold' };

/** One cell in the table: how it ended, the seconds it took, `*` where the guest started anew, `w` where it waited. */
export function cellText(outcome: Outcome | undefined): string {
  if (outcome === undefined) return '';
  const seconds = Math.round(outcome.settledMs / 1000);
  const marks = `${outcome.anew ? '*' : ''}${outcome.waited === '' ? '' : 'w'}`;
  const text = `${SHORT[outcome.state] ?? outcome.state} ${seconds}${marks}`;
  return outcome.problems.length === 0 ? text : `FAILED(${text})`;
}

/** The matrix in Markdown. */
export function tableOf(results: Results<Outcome>): string {
  const lines = [
    ['point', ...FAULTS],
    ['---', ...FAULTS.map(() => '---')],
    ...ROWS.map((row) => [`\`${row.point}\``, ...FAULTS.map((fault) => cellText(results[keyOf({ row, fault })]) || '–')]),
  ];
  return lines.map((columns) => `| ${columns.join(' | ')} |`).join('\n');
}

/** One line of a run that is under way. */
export function lineOf(cell: Cell, outcome: Outcome): string {
  const { state, reason, settledMs, waited, anew, problems } = outcome;
  const how = `${state}${reason === '' ? '' : ` (${reason})`}${anew ? ', started anew' : ''}`;
  const wait = waited === '' ? '' : `, waited as ${waited}`;
  const verdict = problems.length === 0 ? 'ok    ' : 'FAILED';
  const why = problems.map((problem) => `\n           ${problem}`).join('');
  return `${verdict} ${keyOf(cell)}: ${how} after ${(settledMs / 1000).toFixed(1)} s${wait}${why}`;
}
