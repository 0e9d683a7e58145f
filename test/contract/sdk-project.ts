// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';

const repository = fileURLToPath(new URL('../..', import.meta.url));
const sdk = join(repository, 'clients/sdk');
const run = promisify(execFile);
const MOVE_LIMIT_MS = 60_000;

/** A program as a user would write it: from an empty project, with nothing but the package. */
const PROGRAM = `
import { connect, MigrationState, type Migration, type Vm } from '@lockstep/sdk';
import { ApiError } from '@lockstep/sdk/errors';
import { descriptorSet, SchedulerServiceDefinition } from '@lockstep/sdk/v1';

const [servers = '', vm = '', targetNode = ''] = process.argv.slice(2);
const lockstep = connect({ servers: servers.split(',') });
const nodes: string[] = (await lockstep.scheduler.listNodes({})).nodes.map(({ name }) => name);
const { migration } = await lockstep.scheduler.createMigration({ requestId: crypto.randomUUID(), vm, targetNode });
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
export const INSTALL_LIMIT_MS = 240_000;

/** An empty project outside of the repository, with the SDK as it is packed and a program that moves a VM. */
export interface SdkProject {
  /** What is in the package. */
  readonly files: readonly string[];
  /** Runs the program. Returns what it saw. */
  move(servers: readonly string[], vm: string, target: string): Promise<unknown>;
  dispose(): Promise<void>;
}

/** Packs the SDK, installs it into an empty project, and compiles the program there with the package's own types. */
export async function installSdk(): Promise<SdkProject> {
  const folder = await mkdtemp(join(tmpdir(), 'lockstep-sdk-'));
  const dispose = (): Promise<void> => rm(folder, { recursive: true, force: true });
  const app = join(folder, 'app');
  try {
    const { tarball, files } = await pack(folder);
    await mkdir(app);
    await writeFile(join(app, 'package.json'), JSON.stringify({ name: 'app', private: true, type: 'module' }));
    const project = { compilerOptions: COMPILER_OPTIONS, files: ['move.ts'] };
    await writeFile(join(app, 'tsconfig.json'), JSON.stringify(project));
    await writeFile(join(app, 'move.ts'), PROGRAM);
    const install = ['install', '--prefer-offline', '--no-audit', '--no-fund', '--ignore-scripts', tarball];
    await run('npm', install, { cwd: app });
    await run(join(repository, 'node_modules/.bin/tsc'), ['-p', '.'], { cwd: app });
    return {
      files,
      async move(servers, vm, target) {
        const { stdout } = await run(process.execPath, ['move.js', servers.join(), vm, target], {
          cwd: app,
          timeout: MOVE_LIMIT_MS,
        });
        return JSON.parse(stdout) as unknown;
      },
      dispose,
    };
  } catch (error) {
    await dispose();
    throw error;
  }
}

async function pack(folder: string): Promise<{ tarball: string; files: string[] }> {
  const { stdout } = await run('npm', ['pack', '--json', '--pack-destination', folder], { cwd: sdk });
  const [packed] = JSON.parse(stdout) as { filename: string; files: { path: string }[] }[];
  if (packed === undefined) throw new Error(`npm pack said ${stdout}`);
  return { tarball: join(folder, packed.filename), files: packed.files.map(({ path }) => path) };
}
