// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { allCells, DEATHS, keyOf, MODES, type Cell } from './cells.js';
import type { Outcome } from './cell.js';

export type Results = Record<string, Outcome>;

export function readResults(file: string): Results {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Results) : {};
}

/** Whole or not at all: a run may be broken off at any moment. */
export function writeResults(file: string, results: Results): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.new`, JSON.stringify(results, null, 1));
  renameSync(`${file}.new`, file);
}

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
export function tableOf(results: Results): string {
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

/** Failed and passed, of all that there are. */
export function countOf(results: Results): { ran: number; failed: number; all: number } {
  const ran = Object.values(results);
  return { ran: ran.length, failed: ran.filter(({ problems }) => problems.length > 0).length, all: allCells().length };
}
