// SPDX-License-Identifier: Apache-2.0
import type { Results } from '../matrix.js';
import { DEATHS, keyOf, MODES, type Cell } from './cells.js';
import type { Outcome } from './cell.js';

const seconds = (ms: number | undefined): string => (ms === undefined ? '–' : (ms / 1_000).toFixed(1));

export function cellText(outcome: Outcome | undefined): string {
  if (outcome === undefined) return '–';
  const { ending, state, proof, proofMs, startMs, copies, problems } = outcome;
  const text =
    ending === 'starts'
      ? `starts: ${proof} ${seconds(proofMs)} s, first count ${seconds(startMs)} s`
      : `${ending}: ${state}`;
  return `${problems.length === 0 ? '' : 'FAILED '}${text}, ${copies === 0 ? 'no second copy' : `${String(copies)} × TWO COPIES`}`;
}

/** The matrix in Markdown. */
export function tableOf(results: Results<Outcome>): string {
  const lines = [
    ['BMC', ...DEATHS],
    ['---', ...DEATHS.map(() => '---')],
    ...MODES.map((mode) => [mode, ...DEATHS.map((death) => cellText(results[keyOf({ mode, death })]))]),
  ];
  return lines.map((columns) => `| ${columns.join(' | ')} |`).join('\n');
}

/** One line of a run that is under way. */
export function lineOf(cell: Cell, outcome: Outcome): string {
  const { state, reason, detail, vmDetail, leads, problems } = outcome;
  const verdict = problems.length === 0 ? 'ok    ' : 'FAILED';
  const what = [`action ${state}`, reason, detail, vmDetail === '' ? '' : `VM: ${vmDetail}`].filter((text) => text !== '').join('; ');
  const led = leads.length === 0 ? '' : ` (led there: ${leads.join(', ')})`;
  const why = problems.map((problem) => `\n           ${problem}`).join('');
  return `${verdict} ${keyOf(cell)}${led}: ${cellText(outcome)}\n           ${what}${why}`;
}
