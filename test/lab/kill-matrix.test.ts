// SPDX-License-Identifier: Apache-2.0
import { beforeAll, expect, it } from 'vitest';
import { fileURLToPath } from 'node:url';
import { allCells, keyOf } from './kill-matrix/cells.js';
import { lineOf } from './kill-matrix/results.js';
import { runCells } from './kill-matrix/run.js';
import { sampleOf } from './matrix.js';
import { lab, meshEnv, meshUp } from './mesh.js';

const COUNT = 5;
const LIMIT_MS = 15 * 60_000;
/** Other cells in every run; the one that failed can be asked for by its seed. */
const SEED = Number(process.env['KILL_MATRIX_SEED'] ?? Date.now() % 1_000_000);

beforeAll(meshUp);

it(
  `kill matrix: ${COUNT} cells of it, seed ${SEED}`,
  async () => {
    const lines: string[] = [];
    const failed: string[] = [];
    const logs = fileURLToPath(new URL('../dist/kill-matrix-logs', import.meta.url));
    await runCells({ lab, env: meshEnv, cells: sampleOf(allCells(), COUNT, SEED), logs }, (cell, outcome) => {
      lines.push(lineOf(cell, outcome));
      if (outcome.problems.length > 0) failed.push(keyOf(cell));
    });
    const again = `npm run test:lab -- kill-matrix --sample ${COUNT} --seed ${SEED}`;
    console.log(`kill matrix, seed ${SEED} (again: ${again})\n${lines.join('\n')}`);
    expect(failed, `${lines.join('\n')}\n${again}`).toEqual([]);
  },
  LIMIT_MS,
);
