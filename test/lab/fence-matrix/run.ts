// SPDX-License-Identifier: Apache-2.0
import { plug, up, type Lab } from '#lab';
import { Cluster } from '../kill-matrix/cluster.js';
import { runCell, type Outcome } from './cell.js';
import type { Cell } from './cells.js';

export interface Plan {
  lab: Lab;
  env: NodeJS.ProcessEnv;
  cells: readonly Cell[];
  /** Asked before each cell. */
  goesOn?: () => boolean;
}

/** Runs cell after cell in a lab that is up; after one that failed, everything is brought back first. */
export async function runCells({ lab, env, cells, goesOn = () => true }: Plan, tell: (cell: Cell, outcome: Outcome) => void): Promise<void> {
  const cluster = new Cluster(lab);
  try {
    for (const cell of cells) {
      if (!goesOn()) return;
      const outcome = await runCell(cluster, cell);
      tell(cell, outcome);
      if (outcome.problems.length === 0) continue;
      for (const host of lab.hosts) for (const network of ['a', 'b'] as const) await plug(host, network, true);
      await up(lab, { env });
    }
  } finally {
    cluster.close();
  }
}
