// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestCluster, type TestCluster } from './sdk-stand-in.js';

const script = fileURLToPath(new URL('../../clients/examples/python/run.sh', import.meta.url));
const run = promisify(execFile);
let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startTestCluster();
});
afterAll(() => cluster.stop());

it('the Python example lists the nodes, moves a VM, and tells a refusal', async () => {
  const moved = await run(script, [cluster.server, 'counter', 'h2'], { timeout: 60_000 });
  expect(moved.stdout.trim().split('\n')).toEqual([
    'h1 h1:7701 ready',
    'h2 h2:7701 ready',
    'counter: MIGRATION_STATE_SUCCEEDED',
  ]);
  expect(moved.stderr).toContain('MIGRATION_STATE_TRANSFERRING 512 MiB left');
  const refused = run(script, [cluster.server, 'counter', 'h2'], { timeout: 60_000 });
  await expect(refused).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringContaining('FAILED_PRECONDITION: counter is on h2 already') as string,
  });
});
