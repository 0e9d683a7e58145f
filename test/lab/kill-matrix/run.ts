// SPDX-License-Identifier: Apache-2.0
import { mkdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { plug, up, type Lab } from '#lab';
import { runCell, type Outcome } from './cell.js';
import { keyOf, type Cell } from './cells.js';
import { Cluster } from './cluster.js';

/** What is run, and where. */
export interface Plan {
  lab: Lab;
  env: NodeJS.ProcessEnv;
  cells: readonly Cell[];
  /** Where the services' logs of a cell that fails are kept. */
  logs: string;
  /** Asked before each cell. */
  goesOn?: () => boolean;
}

const SERVICES = ['scheduler', 'node-agent', 'libvirtd'] as const;

/** Runs cell after cell in a lab that is up; after one that failed, everything is brought back first. */
export async function runCells(plan: Plan, tell: (cell: Cell, outcome: Outcome) => void): Promise<void> {
  const { lab, env, cells, logs, goesOn = () => true } = plan;
  const cluster = new Cluster(lab);
  try {
    for (const cell of cells) {
      if (!goesOn()) return;
      const marks = logMarks(lab);
      const outcome = await runCell(cluster, cell);
      tell(cell, outcome);
      if (outcome.problems.length === 0) continue;
      keepLogs(marks, join(logs, `${keyOf(cell).replaceAll(/[^a-zA-Z]+/g, '-')}.log`), outcome);
      for (const host of lab.hosts) await plug(host, 'a', true);
      await up(lab, { env });
    }
  } finally {
    cluster.close();
  }
}

interface Mark {
  file: string;
  from: number;
}

function logMarks(lab: Lab): Mark[] {
  const files = lab.hosts.flatMap((host) => [
    ...SERVICES.map((name) => join(host.dir, 'log', `${name}.log`)),
    join(host.dir, 'libvirt/log/libvirtd.log'),
  ]);
  return files.map((file) => ({ file, from: sizeOf(file) }));
}

function sizeOf(file: string): number {
  return statSync(file, { throwIfNoEntry: false })?.size ?? 0;
}

function keepLogs(marks: readonly Mark[], file: string, { problems }: Outcome): void {
  mkdirSync(join(file, '..'), { recursive: true });
  const parts = marks
    .filter(({ file: log, from }) => sizeOf(log) > from)
    .map(({ file: log, from }) => `==> ${log}\n${readFileSync(log).subarray(from).toString()}`);
  writeFileSync(file, [...problems, ...parts].join('\n'));
}
