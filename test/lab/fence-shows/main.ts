// SPDX-License-Identifier: Apache-2.0
// `npm run test:lab -- fence-shows [-t NAME]`: what takes too long for every run of the tests.
import { spawnSync } from 'node:child_process';
import { layout } from '#lab';

const argv = ['run', '--config', 'test/vitest.config.ts', '--project', 'lab-long', 'test/lab/fence-shows', ...process.argv.slice(2)];
const { status } = spawnSync('node_modules/.bin/vitest', argv, { cwd: layout().checkout, stdio: 'inherit' });
process.exitCode = status ?? 1;
