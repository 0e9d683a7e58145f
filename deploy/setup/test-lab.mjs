// SPDX-License-Identifier: Apache-2.0
// `npm run test:lab -- NAME …`: one of the lab's programs where NAME is one, else the lab's tests whose file is called so.
import { spawnSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const [name = '', ...options] = process.argv.slice(2);
const isProgram = /^[a-z-]+$/.test(name) && existsSync(`${root}/test/lab/${name}/main.ts`);
const argv = isProgram
  ? ['sh', 'deploy/setup/setup.sh', 'node', `test/dist/lab/${name}/main.js`, ...options]
  : ['node_modules/.bin/vitest', 'run', '--config', 'test/vitest.config.ts', '--project', 'lab*', ...process.argv.slice(2)];
const [program, ...args] = argv;
const { status } = spawnSync(program, args, { cwd: root, stdio: 'inherit' });
process.exitCode = status ?? 1;
