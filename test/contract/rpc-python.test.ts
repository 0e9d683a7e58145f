// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestCluster, type TestCluster } from './sdk-cluster.js';

const script = fileURLToPath(new URL('../../clients/examples/python/run.sh', import.meta.url));
const run = promisify(execFile);
let cluster: TestCluster;

beforeAll(async () => {
  cluster = await startTestCluster();
});
afterAll(() => cluster.close());

it('the Python example lists the nodes, moves a VM, and tells a refusal', async () => {
  const moved = await run(script, [cluster.server, 'counter', 'n2'], { timeout: 60_000 });
  expect(moved.stdout).toMatch(
    /^n1 127\.0\.0\.1:\d+ ready\nn2 127\.0\.0\.1:\d+ ready\ncounter: MIGRATION_STATE_SUCCEEDED/,
  );
  expect(moved.stderr).toMatch(/MIGRATION_STATE_\w+ \d+ MiB left/);
  const refused = run(script, [cluster.server, 'counter', 'n2'], { timeout: 60_000 });
  await expect(refused).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^FAILED_PRECONDITION: .*counter.*n2/m) as string,
  });
});
