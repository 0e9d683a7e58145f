// SPDX-License-Identifier: Apache-2.0
import { useFencerTimes } from '#lab';
import { mainOf } from '../matrix.js';
import { allCells, DEATHS, keyOf } from './cells.js';
import { lineOf, tableOf } from './results.js';
import { runCells } from './run.js';

/** As many throws as everywhere, one after another sooner: 36 hosts have to be waited for. */
const TIMES = { throwSeconds: 3, deviceCallSeconds: 8, readBackSeconds: 30 };

await mainOf({
  name: 'fence-matrix',
  description: 'Lets a host die in each way with its BMC failing in each way, on real parts. Needs root.',
  labName: 'lsf32',
  cells: allCells(),
  // With a BMC that works, to compare with.
  further: DEATHS.map((death) => ({ mode: 'up', death }) as const),
  prepare: (lab) => {
    useFencerTimes(lab, TIMES);
  },
  keyOf,
  lineOf,
  tableOf,
  run: runCells,
});
