// SPDX-License-Identifier: Apache-2.0
import { useFencerTimes } from '#lab';
import { mainOf } from '../matrix.js';
import { allCells, DEATHS, keyOf } from './cells.js';
import { lineOf, tableOf } from './results.js';
import { runCells } from './run.js';
import { SHORT_TIMES } from './stage.js';

await mainOf({
  name: 'fence-matrix',
  description: 'Lets a host die in each way with its BMC failing in each way, on real parts. Needs root.',
  labName: 'lsf32',
  cells: allCells(),
  // With a BMC that works, to compare with.
  further: DEATHS.map((death) => ({ mode: 'up', death }) as const),
  prepare: (lab) => {
    useFencerTimes(lab, SHORT_TIMES);
  },
  keyOf,
  lineOf,
  tableOf,
  run: runCells,
});
