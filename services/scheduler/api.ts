// SPDX-License-Identifier: Apache-2.0
import {
  type Event,
  ListDrainsResponse,
  ListMigrationsResponse,
  ListVmsResponse,
  type Migration,
  type SchedulerServiceImplementation,
  SchedulerServiceDefinition,
  type Vm,
  WatchEventsResponse,
  WatchDrainsResponse,
  WatchMigrationsResponse,
  WatchNodesResponse,
  WatchVmsResponse,
} from '@lockstep/sdk/v1';
import { LockstepError } from '../core/errors/catalogue.js';
import { isTerminal } from '../core/migration/transitions.js';
import type { Stored } from '../core/records/codec.js';
import type { LeaderView } from '../membership/leadership.js';
import type { Env } from '../platform/env.js';
import { implement } from '../platform/rpc/implement.js';
import { clusterOf } from './cluster.js';
import { listEvents } from './events.js';
import { cancelDrain, createDrain, findDrain } from './drains/drains.js';
import { createMigration } from './migrations/create.js';
import type { MigrationQueue } from './migrations/queue.js';
import { networkApi } from './networks/networks.js';
import { explainPlacement } from './nodes/choose.js';
import { setMaintenance } from './nodes/mode.js';
import { updateOptions } from './options.js';
import { updateVm } from './vms/update.js';
import { findNode, nodesNow } from './nodes/view.js';
import { pageOf } from '../membership/pages.js';
import { recoverNode } from './recovery/recover-node.js';
import { indexOfToken, tokenOf } from '../membership/resume-token.js';
import type { Leading } from './term.js';
import { adoptVm } from './vms/adopt.js';
import { defineVm } from './vms/define.js';
import { findVm } from './vms/find.js';
import { restartVm, startVm, stopVm, undefineVm } from './vms/lifecycle.js';
import { withStatus } from './vms/status.js';
import { watchMessages, type WatchOptions } from '../membership/watch.js';
import { byName, eventSource, migrationSource, newestFirst, nodeSource, recordSource, vmSource } from './watch-sources.js';

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
      const { leading } = led();
      return answer(await leading.turns.inTurn(request.requestId, () => defineVm(leading, request)));
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
    async adoptVm(request) {
      const { vm, liveObstacles } = await adoptVm(led().leading, request);
      return { ...answer(vm), liveObstacles };
    },
    async undefineVm({ vm }) {
      await undefineVm(led().leading, vm);
      return {};
    },
    async *watchVms({ resumeToken }, { signal }) {
      const { leading } = led();
      const options = watchOf(leading, { kind: 'vms', resumeToken, complete: leading.vms.completeIndex, signal });
      for await (const { snapshot, changed, gone, index } of watchMessages(env.clock, vmSource(leading), options)) {
        yield WatchVmsResponse.create({ snapshot, changed, gone, resumeToken: tokenOf('vms', index) });
      }
    },

    async createMigration(request) {
      const { leading, queue } = led();
      const created = await leading.turns.inTurn(request.requestId, () => createMigration(leading, request));
      return { migration: queue.live(created) };
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
      if (id !== '') migrationNow(led(), id);
      const { leading, queue } = led();
      const source = migrationSource(leading, queue, id);
      const options = watchOf(leading, { kind: 'migrations', resumeToken, complete: source.completeIndex(), signal });
      for await (const { snapshot, changed, gone, index } of watchMessages(env.clock, source, options)) {
        yield WatchMigrationsResponse.create({ snapshot, changed, gone, resumeToken: tokenOf('migrations', index) });
        if (id !== '' && changed.some(({ state }) => isTerminal(state))) return;
      }
    },
    async cancelMigration({ id }) {
      return { migration: await led().queue.cancel(id) };
    },

    completeMigration: async ({ id, method }) => ({ migration: await led().queue.complete(id, method) }),
    resolveMigration: async (request) => ({ migration: await led().queue.resolve(request) }),

    getNode: async ({ name }) => Promise.resolve(findNode(led().leading, name)),
    listNodes: async () => Promise.resolve({ nodes: nodesNow(led().leading) }),
    async *watchNodes({ resumeToken }, { signal }) {
      const { leading } = led();
      const options = watchOf(leading, { kind: 'nodes', resumeToken, complete: 0n, signal });
      for await (const { snapshot, changed, gone, index } of watchMessages(env.clock, nodeSource(leading), options)) {
        yield WatchNodesResponse.create({ snapshot, changed, gone, resumeToken: tokenOf('nodes', index) });
      }
    },
    async setMaintenance(request) {
      const { leading } = led();
      await setMaintenance(leading, request);
      return { node: findNode(leading, request.node).node };
    },
    async createDrain(request) {
      const { leading } = led();
      return { drain: await leading.turns.inTurn(request.requestId, () => createDrain(leading, request)) };
    },
    getDrain: async ({ id }) => Promise.resolve({ drain: findDrain(led().leading, id).record }),
    listDrains: async (page) => {
      const drains = led().leading.drains.all().map(({ record }) => record).sort(newestFirst);
      const { items, nextPageToken } = pageOf(drains, ({ id }) => id, page);
      return Promise.resolve(ListDrainsResponse.create({ drains: items, nextPageToken }));
    },
    async *watchDrains({ resumeToken }, { signal }) {
      const { leading } = led();
      const options = watchOf(leading, { kind: 'drains', resumeToken, complete: leading.drains.completeIndex, signal });
      for await (const { snapshot, changed, gone, index } of watchMessages(env.clock, recordSource(leading.drains), options)) {
        yield WatchDrainsResponse.create({ snapshot, changed, gone, resumeToken: tokenOf('drains', index) });
      }
    },
    async cancelDrain({ id }) {
      return { drain: await cancelDrain(led().leading, id) };
    },
    async updateOptions({ options }) {
      return { options: await updateOptions(led().leading, options) };
    },
    async updateVm(request) {
      return answer(await updateVm(led().leading, request));
    },
    async recoverNode(request) {
      return await recoverNode(led().leading, request);
    },
    ...networkApi(() => led().leading),
    explainPlacement: async ({ vm }) => Promise.resolve(explainPlacement(led().leading, findVm(led().leading, vm).record)),
    listEvents: async (request) => Promise.resolve(listEvents(led().leading, request)),
    async *watchEvents({ resumeToken }, { signal }) {
      const { leading } = led();
      const options = watchOf(leading, { kind: 'events', resumeToken, complete: leading.eventRecords.completeIndex, signal });
      for await (const { changed, index } of watchMessages(env.clock, eventSource(leading), options)) {
        const events = changed.sort(inStoreOrder).map(({ record }) => record);
        yield WatchEventsResponse.create({ events, resumeToken: tokenOf('events', index) });
      }
    },
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

interface AskedWatch {
  kind: string;
  resumeToken: string;
  complete: bigint;
  signal: AbortSignal;
}

/** From where a watch goes on, and what ends it: its caller, or the end of the leader's term. */
function watchOf({ term, prunedUpTo }: Leading, { kind, resumeToken, complete, signal }: AskedWatch): WatchOptions {
  const from = indexOfToken(kind, resumeToken, { prunedUpTo: prunedUpTo.get(kind) ?? 0n, complete });
  return { signals: [signal, term.ended], from };
}

function inStoreOrder(a: Stored<Event>, b: Stored<Event>): number {
  if (a.index !== b.index) return a.index < b.index ? -1 : 1;
  return a.record.id < b.record.id ? -1 : 1;
}
