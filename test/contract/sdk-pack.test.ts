// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, expect, it } from 'vitest';
import { INSTALL_LIMIT_MS, installSdk, type SdkProject } from './sdk-project.js';
import { startTestCluster, type TestCluster } from './sdk-stand-in.js';

let cluster: TestCluster;
let project: SdkProject;

beforeAll(async () => {
  cluster = await startTestCluster();
  project = await installSdk();
}, INSTALL_LIMIT_MS);
afterAll(async () => {
  await cluster.stop();
  await project.dispose();
});

it('packed, it moves a VM from an empty project, with its types', async () => {
  expect(project.files).toEqual(
    expect.arrayContaining(['dist/index.js', 'dist/index.d.ts', 'dist/gen/descriptors.js', 'README.md', 'package.json']),
  );
  expect(project.files.filter((file) => /\.test\.|testing|tsbuildinfo|^src\//.test(file))).toEqual([]);
  expect(await project.move([cluster.server], 'counter', 'h2')).toEqual({
    nodes: ['h1', 'h2'],
    succeeded: true,
    sawTransfer: true,
    node: 'h2',
    refusal: ['SAME_NODE', 'FAILED_PRECONDITION', 'lockstep vm show counter'],
    reflects: true,
  });
});
