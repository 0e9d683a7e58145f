// SPDX-License-Identifier: Apache-2.0
import { cpus, loadavg } from 'node:os';
import { summarise, type Summary } from './statistics.js';

/** One figure of both ways, in milliseconds; where only one way has it, the other is left out. */
export interface Row {
  what: string;
  lockstep?: Summary;
  virsh?: Summary;
  /** Of the two medians, in the direction that the table's `ratioName` says. */
  ratio?: number;
}

export interface Table {
  title: string;
  /** How this project's column is headed. */
  lockstepName: string;
  ratioName: string;
  rows: Row[];
}

export interface Goal {
  what: string;
  /** In the goal's own words, with its unit. */
  want: string;
  got: string;
  met: boolean;
}

export interface Report {
  benchmark: string;
  conditions: Record<string, string>;
  tables: Table[];
  goals: Goal[];
}

type Direction = 'virsh / lockstep' | 'lockstep / virsh';

export function row(
  what: string,
  { lockstep, virsh }: { lockstep?: readonly number[]; virsh?: readonly number[] },
  direction: Direction,
): Row {
  const ours = lockstep === undefined ? undefined : summarise(lockstep);
  const theirs = virsh === undefined ? undefined : summarise(virsh);
  return {
    what,
    ...(ours === undefined ? {} : { lockstep: ours }),
    ...(theirs === undefined ? {} : { virsh: theirs }),
    ...(ours === undefined || theirs === undefined
      ? {}
      : {
          ratio: direction === 'virsh / lockstep' ? theirs.median / ours.median : ours.median / theirs.median,
        }),
  };
}

export const loadNow = (): string => loadavg().map((value) => value.toFixed(1)).join(' ');

export function machineConditions(): Record<string, string> {
  const [cpu] = cpus();
  return { cpu: `${cpus().length} × ${cpu?.model.trim() ?? 'unknown'}`, node: process.version };
}

/** For people. Every goal is told, met or missed. */
export function formatReport({ benchmark, conditions, tables, goals }: Report): string {
  const lines = [`bench ${benchmark}`, ...Object.entries(conditions).map(([name, value]) => `  ${name}: ${value}`)];
  for (const table of tables) lines.push('', ...formatTable(table));
  lines.push('');
  for (const { what, want, got, met } of goals) lines.push(`${met ? 'goal met' : 'goal missed'}: ${what}: ${got}, wanted ${want}`);
  return `${lines.join('\n')}\n`;
}

function formatTable({ title, lockstepName, ratioName, rows }: Table): string[] {
  const isCompared = rows.some(({ virsh }) => virsh !== undefined);
  const head = ['median (min – max), ms', lockstepName, ...(isCompared ? ['virsh', ratioName] : [])];
  const body = rows.map(({ what, lockstep, virsh, ratio }) => [
    what,
    formatSummary(lockstep),
    ...(isCompared ? [formatSummary(virsh), ratio === undefined ? '' : ratio.toFixed(2)] : []),
  ]);
  const widths = head.map((_, column) => Math.max(...[head, ...body].map((cells) => cells[column]?.length ?? 0)));
  const lines = [head, ...body].map((cells) =>
    cells
      .map((cell, column) => cell.padEnd(widths[column] ?? 0))
      .join('  ')
      .trimEnd(),
  );
  return [title, ...lines.map((line) => `  ${line}`)];
}

function formatSummary(summary: Summary | undefined): string {
  if (summary === undefined) return '';
  const { median, min, max } = summary;
  return `${formatMs(median)} (${formatMs(min)} – ${formatMs(max)})`;
}

export function formatMs(value: number): string {
  if (value >= 100) return value.toFixed(0);
  return value >= 10 ? value.toFixed(1) : value.toFixed(3);
}
