// SPDX-License-Identifier: Apache-2.0
import {
  ListMigrationsResponse,
  ListVmsResponse,
  type Migration,
  type SchedulerServiceImplementation,
  SchedulerServiceDefinition,
  type Vm,
  WatchMigrationsResponse,
  WatchNodesResponse,
  WatchVmsResponse,
} from '@lockstep/sdk/v1';
import { LockstepError } from '../core/errors/catalogue.js';
import { isTerminal } from '../core/migration/transitions.js';
import type { LeaderView } from '../membership/leadership.js';
import type { Env } from '../platform/env.js';
import { implement } from '../platform/rpc/implement.js';
import { clusterOf } from './cluster.js';
import { createMigration } from './migrations/create.js';
import type { MigrationQueue } from './migrations/queue.js';
import { networkApi } from './networks/networks.js';
import { explainPlacement } from './nodes/choose.js';
import { findNode, nodeNow, nodesNow } from './nodes/view.js';
import { pageOf } from '../membership/pages.js';
import type { Leading } from './term.js';
import { defineVm } from './vms/define.js';
import { findVm } from './vms/find.js';
import { restartVm, startVm, stopVm, undefineVm } from './vms/lifecycle.js';
import { withStatus } from './vms/status.js';
import { watchMessages, type WatchSource } from '../membership/watch.js';

/** Where the leading replica's work lies. */
export interface LeaderDesk {
  leading: Leading;
  queue: MigrationQueue;
}

/** The API as the leader answers it. Between winning the lock and having read all records nobody leads yet. */
export function createApi(
  env: Env,
  leader: () => LeaderView,
  desk: () => LeaderDesk | undefined,
): SchedulerServiceImplementation {
  const led = (): LeaderDesk => {
    const now = desk();
    if (now === undefined) throw new LockstepError('NO_LEADER', 'the new leader is still reading the records');
    return now;
  };
  const answer = (vm: Vm): { vm: Vm } => ({ vm: withStatus(led().leading, vm) });

  return implement(SchedulerServiceDefinition, {
    async defineVm(request) {
      return answer(await defineVm(led().leading, request));
    },
    getVm: async ({ vm }) => Promise.resolve(answer(findVm(led().leading, vm).record)),
    listVms: async ({ node, ...page }) => {
      const { leading } = led();
      const vms = leading.vms
        .all()
        .map(({ record }) => record)
        .filter((vm) => node === '' || vm.placement?.node === node)
        .sort(byName);
      const { items, nextPageToken } = pageOf(vms, ({ name }) => name, page);
      return Promise.resolve(ListVmsResponse.create({ vms: items.map((vm) => withStatus(leading, vm)), nextPageToken }));
    },
    async startVm({ vm, node }) {
      return answer(await startVm(led().leading, vm, node));
    },
    async stopVm({ vm, force }) {
      const { leading, queue } = led();
      return answer(await stopVm(leading, queue, vm, force));
    },
    restartVm: async ({ vm, force }) => Promise.resolve(answer(restartVm(led().leading, vm, force))),
    async undefineVm({ vm }) {
      await undefineVm(led().leading, vm);
      return {};
    },
    async *watchVms({ resumeToken }, { signal }) {
      refuseToken(resumeToken);
      for await (const { snapshot, changed, gone } of watchMessages(env.clock, vmSource(led()), [signal, led().leading.term.ended])) {
        yield WatchVmsResponse.create({ snapshot, changed, gone });
      }
    },

    async createMigration(request) {
      const { leading, queue } = led();
      return { migration: queue.live(await createMigration(leading, request)) };
    },
    getMigration: async ({ id }) => Promise.resolve({ migration: migrationNow(led(), id) }),
    listMigrations: async ({ vm, openOnly, ...page }) => {
      const { leading, queue } = led();
      const vmId = vm === '' ? undefined : findVm(leading, vm).record.id;
      const migrations = leading.migrations
        .all()
        .map(({ record }) => record)
        .filter((record) => (vmId === undefined || record.vmId === vmId) && !(openOnly && isTerminal(record.state)))
        .sort(newestFirst);
      const { items, nextPageToken } = pageOf(migrations, ({ id }) => id, page);
      const live = items.map((record) => queue.live(record));
      return Promise.resolve(ListMigrationsResponse.create({ migrations: live, nextPageToken }));
    },
    async *watchMigrations({ id, resumeToken }, { signal }) {
      refuseToken(resumeToken);
      if (id !== '') migrationNow(led(), id);
      const source = migrationSource(led(), id);
      for await (const { snapshot, changed } of watchMessages(env.clock, source, [signal, led().leading.term.ended])) {
        yield WatchMigrationsResponse.create({ snapshot, changed });
        if (id !== '' && changed.some(({ state }) => isTerminal(state))) return;
      }
    },
    async cancelMigration({ id }) {
      return { migration: await led().queue.cancel(id) };
    },

    getNode: async ({ name }) => Promise.resolve(findNode(led().leading, name)),
    listNodes: async () => Promise.resolve({ nodes: nodesNow(led().leading) }),
    async *watchNodes({ resumeToken }, { signal }) {
      refuseToken(resumeToken);
      for await (const { snapshot, changed, gone } of watchMessages(env.clock, nodeSource(led()), [signal, led().leading.term.ended])) {
        yield WatchNodesResponse.create({ snapshot, changed, gone });
      }
    },
    ...networkApi(() => led().leading),
    explainPlacement: async ({ vm }) => Promise.resolve(explainPlacement(led().leading, findVm(led().leading, vm).record)),
    getCluster: async () => Promise.resolve({ cluster: await clusterOf(env, leader(), led()) }),
  });
}

function migrationNow({ leading, queue }: LeaderDesk, id: string): Migration {
  const stored = leading.migrations.get(id);
  if (stored === undefined) {
    throw new LockstepError('MIGRATION_NOT_FOUND', `there is no migration ${id === '' ? '(no id given)' : id}`, {
      migration: id,
    });
  }
  return queue.live(stored.record);
}

function vmSource({ leading }: LeaderDesk): WatchSource<Vm> {
  const all = (): Vm[] => leading.vms.all().map(({ record }) => withStatus(leading, record)).sort(byName);
  return {
    all,
    get: (id) => {
      const stored = leading.vms.get(id);
      return stored === undefined ? undefined : withStatus(leading, stored.record);
    },
    nameOf: ({ id }) => id,
    subscribe: (changed) => {
      const ends = [
        leading.vms.onChange(changed),
        leading.migrations.onChange((ids) => {
          changed(ids.flatMap((id) => leading.migrations.get(id)?.record.vmId ?? []));
        }),
        leading.nodes.onChange(() => {
          changed(leading.vms.all().map(({ record }) => record.id));
        }),
      ];
      return () => {
        for (const end of ends) end();
      };
    },
  };
}

function migrationSource({ leading, queue }: LeaderDesk, only: string): WatchSource<Migration> {
  const wanted = (id: string): boolean => only === '' || id === only;
  return {
    all: () =>
      leading.migrations
        .all()
        .filter(({ record }) => wanted(record.id))
        .map(({ record }) => queue.live(record))
        .sort(newestFirst),
    get: (id) => {
      const stored = leading.migrations.get(id);
      return stored === undefined ? undefined : queue.live(stored.record);
    },
    nameOf: ({ id }) => id,
    subscribe: (changed) => {
      const ends = [
        leading.migrations.onChange((ids) => {
          changed(ids.filter(wanted));
        }),
        queue.onLive((id) => {
          if (wanted(id)) changed([id]);
        }),
      ];
      return () => {
        for (const end of ends) end();
      };
    },
  };
}

function nodeSource({ leading }: LeaderDesk): WatchSource<ReturnType<typeof nodesNow>[number]> {
  return {
    all: () => nodesNow(leading),
    get: (name) => nodeNow(leading, name),
    nameOf: ({ name }) => name,
    subscribe: (changed) =>
      leading.nodes.onChange(() => {
        changed(leading.nodes.nodes().map(({ name }) => name));
      }),
  };
}

/** Resuming is not built yet: a watch that has a token is told to begin anew. */
function refuseToken(token: string): void {
  if (token === '') return;
  throw new LockstepError('RESUME_TOKEN_EXPIRED', 'resume_token: watch again without it and take the snapshot', {
    field: 'resume_token',
  });
}

function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1;
}

function newestFirst(a: { id: string }, b: { id: string }): number {
  return a.id < b.id ? 1 : -1;
}
