// SPDX-License-Identifier: Apache-2.0
import {
  Migration,
  MigrationMode,
  MigrationState,
  SchedulerServiceDefinition,
  type SchedulerServiceImplementation,
  VmState,
} from '@lockstep/sdk/v1';
import { LockstepError } from '../../services/core/errors/catalogue.js';
import { createMemoryLogger } from '../../services/platform/log/memory.js';
import { implement, serve, service } from '../../services/platform/rpc/server.js';

/** A cluster for tests of clients: nodes h1 and h2, and the VM `counter`, which runs on h1 at first. */
export interface TestCluster {
  readonly server: string;
  stop(): Promise<void>;
}

const GIB = 1024n ** 3n;

/** The states of a move, one every 20 ms, with the memory that is left in each. */
const COURSE = [
  [MigrationState.PREPARING, GIB],
  [MigrationState.TRANSFERRING, GIB / 2n],
  [MigrationState.COMMITTING, 0n],
  [MigrationState.SUCCEEDED, 0n],
] as const;

function pause(delayMs: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, delayMs);
  });
}

/** Just as much of a Scheduler as it takes to move one VM to and fro. */
function oneVmScheduler(): Partial<SchedulerServiceImplementation> {
  let node = 'h1';
  const migrations = new Map<string, Migration>();
  const migrationOf = (id: string): Migration => {
    const migration = migrations.get(id);
    if (migration === undefined) throw new LockstepError('MIGRATION_NOT_FOUND', `no migration ${id}`, { migration: id });
    return migration;
  };
  return {
    listNodes: () =>
      Promise.resolve({ nodes: ['h1', 'h2'].map((name) => ({ name, address: `${name}:7701`, ready: true })) }),
    getVm: async ({ vm }) => {
      await pause(0);
      if (vm !== 'counter') throw new LockstepError('VM_NOT_FOUND', `no VM ${vm}`, { vm });
      return { vm: { name: vm, status: { state: VmState.RUNNING, node } } };
    },
    createMigration: async ({ vm, targetNode, requestId }) => {
      await pause(0);
      if (targetNode === node) throw new LockstepError('SAME_NODE', `${vm} is on ${node} already`, { vm });
      const modeRequested = MigrationMode.LIVE_OR_SHUTDOWN;
      const asked = { id: `m-${requestId}`, vmName: vm, sourceNode: node, targetNode, requestId, modeRequested };
      const migration = Migration.fromPartial({ ...asked, state: MigrationState.PENDING });
      migrations.set(migration.id, migration);
      return { migration };
    },
    getMigration: async ({ id }) => ({ migration: await Promise.resolve(migrationOf(id)) }),
    async *watchMigrations({ id }) {
      const migration = migrationOf(id);
      for (const [state, memoryRemainingBytes] of COURSE) {
        await pause(20);
        if (state === MigrationState.SUCCEEDED) node = migration.targetNode;
        migration.state = state;
        yield { changed: [{ ...migration, progress: { memoryTotalBytes: GIB, memoryRemainingBytes } }] };
      }
    },
  };
}

/** Starts it on a free port of loopback. */
export async function startTestCluster(): Promise<TestCluster> {
  const scheduler = service(SchedulerServiceDefinition, implement(SchedulerServiceDefinition, oneVmScheduler()));
  const server = await serve({ listen: '127.0.0.1:0', services: [scheduler], log: createMemoryLogger() });
  return { server: server.address, stop: () => server.close(0) };
}
