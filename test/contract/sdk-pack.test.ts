// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { startTestCluster, type TestCluster } from './sdk-cluster.js';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const sdk = join(repository, 'clients/sdk');
const run = promisify(execFile);

/** A program as a user would write it: from an empty project, with nothing but the package. */
const PROGRAM = `
import { connect, MigrationState, type Migration, type Vm } from '@lockstep/sdk';
import { ApiError } from '@lockstep/sdk/errors';
import { descriptorSet, SchedulerServiceDefinition } from '@lockstep/sdk/v1';

const [server = '', vm = '', targetNode = ''] = process.argv.slice(2);
const lockstep = connect({ servers: [server] });
const nodes: string[] = (await lockstep.scheduler.listNodes({})).nodes.map(({ name }) => name);
const { migration } = await lockstep.scheduler.createMigration({ requestId: 'one', vm, targetNode });
const states = new Set<MigrationState>();
const end: Migration = await lockstep.waitForMigration(migration?.id ?? '', { onUpdate: ({ state }) => states.add(state) });
const moved: Vm = await lockstep.waitForVm(vm, ({ status }) => status?.node === targetNode);
const refusal = await lockstep.scheduler.createMigration({ vm, targetNode }).catch((error: unknown) => error);
console.log(JSON.stringify({
  nodes,
  succeeded: end.state === MigrationState.SUCCEEDED,
  sawTransfer: states.has(MigrationState.TRANSFERRING),
  node: moved.status?.node,
  refusal: refusal instanceof ApiError ? [refusal.reason, refusal.status, refusal.hint] : String(refusal),
  reflects: Buffer.from(descriptorSet).includes(SchedulerServiceDefinition.name),
}));
lockstep.close();
`;

const COMPILER_OPTIONS = {
  module: 'NodeNext',
  target: 'ES2023',
  strict: true,
  skipLibCheck: true,
  types: ['node'],
  typeRoots: [join(repository, 'node_modules/@types')],
};

/** Installing may fetch from the registry, on a machine with other things to do. */
const INSTALL_LIMIT_MS = 240_000;

let cluster: TestCluster;
let project = '';

beforeAll(async () => {
  cluster = await startTestCluster();
  project = await mkdtemp(join(tmpdir(), 'lockstep-sdk-'));
});
afterAll(async () => {
  await cluster.close();
  await rm(project, { recursive: true, force: true });
});

async function pack(): Promise<{ tarball: string; files: string[] }> {
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', project], { cwd: sdk });
  const [packed] = JSON.parse(stdout) as { filename: string; files: { path: string }[] }[];
  if (packed === undefined) throw new Error(`npm pack said ${stdout}`);
  return { tarball: join(project, packed.filename), files: packed.files.map(({ path }) => path) };
}

it('packed, it moves a VM from an empty project, with its types', async () => {
  const { tarball, files } = await pack();
  expect(files).toEqual(
    expect.arrayContaining(['dist/index.js', 'dist/index.d.ts', 'dist/gen/descriptors.js', 'README.md', 'package.json']),
  );
  expect(files.filter((file) => /\.test\.|testing|tsbuildinfo|^src\//.test(file))).toEqual([]);

  const app = join(project, 'app');
  await mkdir(app);
  await writeFile(join(app, 'package.json'), JSON.stringify({ name: 'app', private: true, type: 'module' }));
  await writeFile(join(app, 'tsconfig.json'), JSON.stringify({ compilerOptions: COMPILER_OPTIONS, files: ['move.ts'] }));
  await writeFile(join(app, 'move.ts'), PROGRAM);
  await run('npm', ['install', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', tarball], { cwd: app });
  await run(join(repository, 'node_modules/.bin/tsc'), ['-p', '.'], { cwd: app });
  const { stdout } = await run(process.execPath, ['move.js', cluster.server, 'counter', 'n2'], { cwd: app, timeout: 30_000 });
  expect(JSON.parse(stdout)).toEqual({
    nodes: ['n1', 'n2'],
    succeeded: true,
    sawTransfer: true,
    node: 'n2',
    refusal: ['SAME_NODE', 'FAILED_PRECONDITION', 'lockstep vm show counter'],
    reflects: true,
  });
}, INSTALL_LIMIT_MS);
