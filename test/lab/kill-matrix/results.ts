// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Outcome } from './cell.js';
import { FAULTS, keyOf, ROWS, type Cell } from './cells.js';

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
export function tableOf(results: Results): string {
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
