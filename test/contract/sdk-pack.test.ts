// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestCluster, type TestCluster } from './sdk-cluster.js';
import { INSTALL_LIMIT_MS, installSdk, type SdkProject } from './sdk-project.js';

let cluster: TestCluster;
let project: SdkProject;

beforeAll(async () => {
  cluster = await startTestCluster();
  project = await installSdk();
}, INSTALL_LIMIT_MS);
afterAll(async () => {
  await cluster.close();
  await project.dispose();
});

it('packed, it moves a VM from an empty project, with its types', async () => {
  expect(project.files).toEqual(
    expect.arrayContaining(['dist/index.js', 'dist/index.d.ts', 'dist/gen/descriptors.js', 'README.md', 'package.json']),
  );
  expect(project.files.filter((file) => /\.test\.|testing|tsbuildinfo|^src\//.test(file))).toEqual([]);
  expect(await project.move([cluster.server], 'counter', 'n2')).toEqual({
    nodes: ['n1', 'n2'],
    succeeded: true,
    sawTransfer: true,
    node: 'n2',
    refusal: ['SAME_NODE', 'FAILED_PRECONDITION', 'lockstep vm show counter'],
    reflects: true,
  });
});
