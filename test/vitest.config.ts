// SPDX-License-Identifier: Apache-2.0
import { availableParallelism } from 'node:os';
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

/** Vitest by itself leaves one core unused, which on two is half of the machine. */
const cores = availableParallelism();
const root = fileURLToPath(new URL('..', import.meta.url));
const exclude = ['**/node_modules/**', '**/dist/**', '**/gen/**'];

/** Of the lab's tests those that wait for minutes, as hosts may be silent for as long: by command. */
const long = [
  'test/lab/fence-shows/**/*.test.ts',
  'test/lab/agent-faults.test.ts',
  'test/lab/bmc.test.ts',
  'test/lab/ceph.test.ts',
  'test/lab/ceph-up.test.ts',
  'test/lab/ceph-recovery.test.ts',
  'test/lab/fence-lab.test.ts',
  'test/lab/convergence.test.ts',
  'test/lab/lockstep-shows/**/*.test.ts',
];

/** In labs of their own, so that they can run beside the tests of the lab. */
const beside = ['test/lab/lab.test.ts', 'test/lab/fence-matrix.test.ts', 'test/lab/kill-matrix.test.ts'];

/** One file after another: they share a lab. */
const onLab = { globalSetup: ['test/lab/mesh-setup.ts'], testTimeout: 300_000, hookTimeout: 600_000, fileParallelism: false };

/** One project per kind of test: what each needs of the machine differs, and so do its limits. */
export default defineConfig({
  test: {
    projects: [
      {
        root,
        test: {
          name: 'unit',
          include: ['services/**/*.test.ts', 'clients/**/*.test.ts', 'deploy/**/*.test.ts', 'test/tidy/**/*.test.ts'],
          exclude,
          testTimeout: 20_000,
          maxWorkers: cores,
        },
      },
      {
        root,
        test: {
          name: 'contract',
          include: ['test/contract/**/*.test.ts'],
          exclude,
          testTimeout: 60_000,
          hookTimeout: 120_000,
          // They wait for processes of their own most of the time.
          maxWorkers: 2 * cores,
        },
      },
      {
        root,
        test: {
          name: 'simulation',
          include: ['test/simulation/**/*.test.ts'],
          exclude,
          testTimeout: 300_000,
          maxWorkers: cores,
        },
      },
      {
        root,
        test: {
          name: 'model',
          include: ['test/model/**/*.test.ts'],
          exclude,
          testTimeout: 900_000,
        },
      },
      {
        root,
        test: {
          name: 'lab',
          include: ['test/lab/**/*.test.ts'],
          exclude: [...exclude, ...long, ...beside],
          ...onLab,
        },
      },
      {
        root,
        test: {
          name: 'lab-beside',
          include: beside,
          exclude,
          ...onLab,
        },
      },
      {
        root,
        test: {
          name: 'lab-long',
          include: long,
          exclude,
          ...onLab,
          testTimeout: 900_000,
        },
      },
    ],
  },
});
