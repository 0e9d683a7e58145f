// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { mainOf } from '../matrix.js';
import { allCells, keyOf, ROWS } from './cells.js';
import { lineOf, tableOf } from './results.js';
import { runCells } from './run.js';

await mainOf({
  name: 'kill-matrix',
  description: 'Breaks each part of the cluster at each place of a migration, on real parts. Needs root.',
  labName: 'lsk31',
  cells: allCells(ROWS),
  keyOf,
  lineOf,
  tableOf,
  run: (plan, tell) => runCells({ ...plan, logs: join(plan.lab.checkout, 'test/dist/kill-matrix-logs') }, tell),
});
