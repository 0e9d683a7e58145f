// SPDX-License-Identifier: Apache-2.0
import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vitest/config';

const root = fileURLToPath(new URL('..', import.meta.url));
const exclude = ['**/node_modules/**', '**/dist/**', '**/gen/**'];

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
        },
      },
      {
        root,
        test: {
          name: 'simulation',
          include: ['test/simulation/**/*.test.ts'],
          exclude,
          testTimeout: 300_000,
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
          exclude: [...exclude, 'test/lab/fence-shows/**'],
          globalSetup: ['test/lab/mesh-setup.ts'],
          testTimeout: 300_000,
          hookTimeout: 600_000,
          fileParallelism: false,
        },
      },
      {
        root,
        test: {
          // By command: each of them lets hosts be silent for as long as hosts may be.
          name: 'shows',
          include: ['test/lab/fence-shows/**/*.test.ts'],
          exclude,
          globalSetup: ['test/lab/mesh-setup.ts'],
          testTimeout: 900_000,
          hookTimeout: 600_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
