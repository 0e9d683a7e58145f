// SPDX-License-Identifier: Apache-2.0
import {
  LeaderRole,
  MigrationRole,
  NodeAgentServiceDefinition,
  SourceFact,
  type NodeAgentServiceImplementation,
  type OrderHeader,
  type VmOrder,
} from '@lockstep/sdk/v1';
import { invalidField } from '../core/errors/catalogue.js';
import { checkNetwork } from '../core/networks/check.js';
import { implement } from '../platform/rpc/implement.js';
import { durationOf, milliseconds } from '../core/duration.js';
import type { Adoption } from './adoption.js';
import type { BmcChecks } from './bmc-checks.js';
import type { FactsReader } from './facts-reader.js';
import type { SourceRole } from './migration/source.js';
import type { TargetRole } from './migration/target.js';
import type { NodeNetworks } from './networks.js';
import { orderedVm, type OrderedVm, type Speaker } from './orders.js';
import type { AgentParts } from './parts.js';
import type { NodePresence } from './presence.js';
import { probe } from './probe.js';
import type { StorageLockBreaker } from './storage-locks.js';
import type { VmLogs } from './vm-log.js';
import type { VmOrders } from './vm-orders.js';
import type { Watchers } from './watchers.js';

/** What the service hands its calls to. */
export interface ServiceParts {
  parts: AgentParts;
  presence: NodePresence;
  watchers: Watchers;
  vmOrders: VmOrders;
  adoption: Adoption;
  source: SourceRole;
  target: TargetRole;
  facts: FactsReader;
  bmcs: BmcChecks;
  networks: NodeNetworks;
  logs: VmLogs;
  storageLocks: StorageLockBreaker;
  /** Stops every VM of the cluster here; those that run still. */
  stopAll: () => Promise<string[]>;
  incarnation: () => bigint;
  setDebug: (enabled: boolean) => void;
}

const PROBE_LIMIT_MS = 2_000;

/** NodeAgentService: checks who speaks and what about, then lets the VM's queue work it. */
export function agentService(agent: ServiceParts): NodeAgentServiceImplementation {
  const { parts, presence, watchers, vmOrders, adoption, source, target, facts } = agent;
  const { guard, queues } = parts;

  /** An order on one VM, in its turn; a newer leader that spoke meanwhile makes it void. */
  const inTurn = async <T>(
    what: string,
    header: OrderHeader | undefined,
    order: VmOrder | undefined,
    needs: { migration: boolean },
    work: (vm: OrderedVm, speaker: Speaker) => Promise<T>,
  ): Promise<T> => {
    const vm = orderedVm(order, { epoch: true, ...needs });
    const speaker = await guard.order(header);
    return queues.run(vm.vmId, what, () => {
      guard.stillHighest(speaker);
      return work(vm, speaker);
    });
  };

  return implement(NodeAgentServiceDefinition, {
    async getNode({ header }) {
      await guard.look(header);
      return { node: presence.node(), vms: presence.vms() };
    },

    async *watchNode({ header }, { signal }) {
      await guard.look(header);
      yield* watchers.watch(signal, header?.leaderRole === LeaderRole.SCHEDULER);
    },

    async applyVm({ header, order, desired, spec, sequence }) {
      const vm = await inTurn('ApplyVm', header, order, { migration: false }, (ordered, { epoch }) =>
        vmOrders.apply(ordered, { desired, spec, leaderEpoch: epoch, sequence }),
      );
      return { vm };
    },

    async stopVm({ header, order, shutdownLimit, sequence }, { signal }) {
      const vm = orderedVm(order, { epoch: true, migration: false });
      const speaker = await guard.order(header);
      const { forced, vm: report } = await vmOrders.stop(vm, speaker, { limitMs: milliseconds(shutdownLimit, 0), sequence }, signal);
      return { vm: report, forced };
    },

    restartVm: ({ header, order, shutdownLimit }) =>
      inTurn('RestartVm', header, order, { migration: false }, (vm) =>
        vmOrders.restart(vm, milliseconds(shutdownLimit, 0)),
      ),

    async removeVm({ header, order }) {
      await inTurn('RemoveVm', header, order, { migration: false }, (vm) => vmOrders.remove(vm));
      return {};
    },

    async seize({ header, order }) {
      const vm = orderedVm(order, { epoch: false, migration: false });
      const speaker = await guard.question(header);
      return queues.run(vm.vmId, 'Seize', async () => {
        guard.stillHighest(speaker);
        const found = await facts.read(vm);
        guard.stillHighest(speaker);
        if (found.sourceFact === SourceFact.UNTOLD) source.tell(vm.vmId);
        target.heard(vm.vmId);
        return { facts: found, incarnation: agent.incarnation() };
      });
    },

    async giveUp({ header, order }) {
      return { facts: await inTurn('GiveUp', header, order, { migration: false }, (vm) => vmOrders.giveUp(vm)) };
    },

    async adoptVm({ header, order, validateOnly }) {
      return inTurn('AdoptVm', header, order, { migration: false }, (ordered) => adoption.adopt(ordered, validateOnly));
    },

    async prepare(request) {
      const { header, order, role } = request;
      const isSource = atSource(role);
      return inTurn('Prepare', header, order, { migration: true }, async (vm) => {
        if (!isSource) {
          await agent.logs.arriving(vm.vmId, vm.migrationId, request.domainXml);
          const vote = await target.prepare(vm, request);
          if (!vote.granted) return { granted: false, refusals: vote.refusals };
          const ttl = durationOf(parts.timing.prepareTtlMs);
          return { granted: true, cookie: Buffer.from(vote.cookie), migrationUri: vote.uri, ttl };
        }
        const vote = await source.prepare(vm, request.measureDirtyRate);
        if (!vote.granted) return { granted: false, refusals: [vote.refusal] };
        // Whatever brought it here is over.
        target.forget(vm.vmId);
        const { cookie, liveXml, persistentXml, paused, memoryUse } = vote.begun;
        return { granted: true, cookie: Buffer.from(cookie), domainXml: liveXml, persistentXml, paused, ...memoryUse };
      });
    },

    async renewPreparation({ header, order }) {
      const vm = orderedVm(order, { epoch: true, migration: true });
      await guard.order(header);
      return { ttl: durationOf(target.renew(vm)) };
    },

    async *transfer(request, { signal }) {
      const { header, order } = request;
      const vm = orderedVm(order, { epoch: true, migration: true });
      const speaker = await guard.order(header);
      const transfer = await queues.run(vm.vmId, 'Transfer', () => {
        guard.stillHighest(speaker);
        return source.transfer(vm, request);
      });
      yield* transfer.attach(speaker, signal);
    },

    async tuneTransfer(request) {
      const vm = orderedVm(request.order, { epoch: true, migration: true });
      await guard.order(request.header);
      await source.tune(vm, request);
      return {};
    },

    commit({ header, order, role, cookie, postCopy }) {
      const isSource = atSource(role);
      return inTurn('Commit', header, order, { migration: true }, async (vm) =>
        isSource ? { facts: await source.commit(vm, { cookie, postCopy }) } : target.commit(vm, { cookie, postCopy }),
      );
    },

    async abort({ header, order, role }) {
      const isSource = atSource(role);
      const found = await inTurn('Abort', header, order, { migration: true }, (vm) =>
        isSource ? source.abort(vm) : target.abort(vm),
      );
      return { facts: found };
    },

    async applyNetworks({ header, networks }) {
      const speaker = await guard.order(header);
      for (const network of networks) checkNetwork(network);
      guard.stillHighest(speaker);
      await agent.networks.apply(networks);
      return {};
    },

    async probe({ address, limit }, { signal }) {
      const limitMs = milliseconds(limit, PROBE_LIMIT_MS);
      const seen = await probe(parts.env, address, limitMs, signal);
      return { ...seen, incarnation: agent.incarnation() };
    },

    async checkBmc({ header, node }) {
      if (node === '') throw invalidField('node', 'nothing', 'the name of a node');
      await guard.look(header);
      return agent.bmcs.check(node);
    },

    async releaseStorageLocks(request) {
      const speaker = await guard.order(request.header);
      return await agent.storageLocks.release(request, () => {
        guard.stillHighest(speaker);
      });
    },

    streamVmLog: (request, { signal }) => agent.logs.stream(request, signal),

    async stopAllVms({ header }) {
      guard.stillHighest(await guard.order(header));
      return { runningVmIds: await agent.stopAll() };
    },

    setDebug({ enabled }) {
      agent.setDebug(enabled);
      return Promise.resolve({});
    },
  });
}

function atSource(role: MigrationRole): boolean {
  if (role === MigrationRole.SOURCE) return true;
  if (role === MigrationRole.TARGET) return false;
  throw invalidField('role', String(role), 'MIGRATION_ROLE_SOURCE or MIGRATION_ROLE_TARGET');
}
