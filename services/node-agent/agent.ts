// SPDX-License-Identifier: Apache-2.0
import type { NodeAgentServiceImplementation } from '@lockstep/sdk/v1';
import { silentMetrics } from '../platform/metrics/metrics.js';
import type { AgentEnv } from '../platform/env.js';
import type { Timer } from '../platform/clock/clock.js';
import { Adoption } from './adoption.js';
import { assignFromMemory, assignFromRecords } from './assign.js';
import { BmcChecks } from './bmc-checks.js';
import { DEFAULT_TIMING, type AgentConfig } from './config.js';
import { DurableMemory } from './durable-memory.js';
import { SelfFence } from './fencing/self-fence.js';
import { stopAllVms } from './fencing/stop-all.js';
import { FactsReader } from './facts-reader.js';
import { Leaving } from './leaving.js';
import { Membership } from './membership.js';
import { SourceRole } from './migration/source.js';
import { TargetRole } from './migration/target.js';
import { agentMetrics } from './metrics.js';
import { NodeNetworks } from './networks.js';
import { OrderGuard } from './orders.js';
import type { AgentParts } from './parts.js';
import { NodePresence } from './presence.js';
import { ForgottenPreparations } from './forgotten-preparations.js';
import { Rarely } from './rarely.js';
import { Reconciler } from './reconcile.js';
import { createRoomCheck } from './room.js';
import { agentService } from './service.js';
import { NodeStorage } from './storage.js';
import { StorageLockBreaker } from './storage-locks.js';
import { tickLine } from './tick-line.js';
import { NodeView } from './view.js';
import { VmLogs } from './vm-log.js';
import { VmOrders } from './vm-orders.js';
import { VmQueues } from './vm-queues.js';
import { Watchers } from './watchers.js';

/** Without a tick for this many of their intervals, the agent has come to a stop. */
const TICKS_LIMIT = 3;
/** How long guests have to shut down before the host is switched off. */
const STOP_GRACE_MS = 10_000;
/** Nothing is started on a host that is about to be switched off; if it is not, its VMs run again after this. */
const STARTS_HELD_MS = 300_000;

/** The agent of one hypervisor. */
export interface NodeAgent {
  /** NodeAgentService, to be served from `start` on. It answers before the agent has joined, with NOT_JOINED. */
  readonly service: NodeAgentServiceImplementation;
  /**
   * Begins everything in the background; resolves at once. Rejects later ends by `onFatal` alone: where this host must
   * not use its name.
   */
  start(): void;
  /** Why it has no part in the cluster now: not joined, or its lease is not held; empty where it has. */
  notReady(): string;
  /** Why its work has come to a stop; empty while ticks succeed. */
  notLive(): string;
  /**
   * To be called first when the process is told to end, while the service is still served: where the whole host goes
   * down, has its VMs taken away or stopped, as the cluster's policy says. Otherwise resolves at once.
   */
  leave(): Promise<void>;
  /** Ends orderly: leaves the cluster, touches no running VM. A guest prepared here, unfinished, is destroyed. */
  stop(): Promise<void>;
}

export interface AgentOptions {
  /** The agent must end: another host has its name. */
  onFatal?: (error: Error) => void;
  setDebug?: (enabled: boolean) => void;
}

/**
 * Loads the durable memory and puts the agent together. Fails where the memory is damaged or another node's: an agent
 * that forgot epochs and floors silently would be unsafe.
 */
export async function createNodeAgent(env: AgentEnv, config: AgentConfig, options: AgentOptions = {}): Promise<NodeAgent> {
  const life = new AgentLife(env, config, await DurableMemory.load(env.state, config.node), options);
  await life.checkSelfFence();
  return {
    service: life.service,
    start: () => { life.start(); },
    notReady: () => life.notReady(),
    notLive: () => life.notLive(),
    leave: () => life.leave(),
    stop: () => life.stop(),
  };
}

class AgentLife {
  readonly service: NodeAgentServiceImplementation;
  readonly #stopping = new AbortController();
  readonly #parts: AgentParts;
  readonly #view: NodeView;
  readonly #reconciler: Reconciler;
  readonly #leaving: Leaving;
  readonly #membership: Membership;
  readonly #presence: NodePresence;
  readonly #watchers: Watchers;
  readonly #bmcs: BmcChecks;
  readonly #networks: NodeNetworks;
  readonly #storage: NodeStorage;
  /** What is looked at less often than at every tick. */
  readonly #rarely: Rarely[];
  readonly #selfFence: SelfFence;
  #tick: Timer | undefined;
  /** When the last tick had succeeded; at first, when the agent was made. */
  #tickedAtMs: number;

  constructor(
    env: AgentEnv,
    config: AgentConfig,
    memory: DurableMemory,
    private readonly options: AgentOptions,
  ) {
    const timing = { ...DEFAULT_TIMING, ...config.timing };
    const stopped = this.#stopping.signal;
    const guard = new OrderGuard(memory, () => this.#membership.incarnation);
    const metrics = agentMetrics(env.metrics ?? silentMetrics);
    const queues = new VmQueues(env.clock);
    const parts: AgentParts = { env, config, timing, memory, metrics, queues, guard, stopped };
    this.#tickedAtMs = env.clock.nowMs();
    this.#parts = parts;
    const changed = (): void => {
      this.#watchers.wake();
    };
    this.#networks = new NodeNetworks(parts, changed);
    this.#storage = new NodeStorage(parts, changed);
    const slow = [this.#networks.collector, this.#storage.collector];
    this.#rarely = [
      new Rarely(env.clock, timing.networkEveryMs, () => void this.#networks.collector.refresh()),
      new Rarely(env.clock, timing.cephEveryMs, () => void this.#storage.collector.refresh()),
    ];
    this.#view = new NodeView(parts, changed, slow);
    this.#reconciler = new Reconciler(parts, changed);
    const forgotten = new ForgottenPreparations(parts, this.#reconciler);
    this.#rarely.push(new Rarely(env.clock, timing.forgottenEveryMs, () => void forgotten.look()));
    this.#leaving = new Leaving(parts, this.#view, this.#reconciler, changed);
    this.#membership = new Membership({
      env,
      config,
      timing,
      memory,
      stopped,
      onJoined: async ({ networks, ...records }) => {
        // Guests that are started next find their bridges; what cannot be made is shown and delays nobody for long.
        await this.#networks.apply(networks);
        await assignFromRecords(parts, this.#reconciler, records);
      },
      onChange: changed,
      onRenewal: (latenessMs) => {
        metrics.late('renewal', latenessMs);
      },
    });
    this.#selfFence = new SelfFence(parts, env.watchdog, () => this.#membership.holding());
    this.#bmcs = new BmcChecks(parts, () => this.#membership.hostUuid, changed);
    this.#presence = new NodePresence(parts, this.#view, this.#reconciler, {
      standing: () => this.#membership,
      fencing: () => this.#bmcs.own,
      leaving: () => this.#leaving.word,
      networks: this.#networks,
      ceph: () => this.#storage.ceph(),
      selfFence: () => this.#selfFence.announced(),
    });
    this.#watchers = new Watchers(env.clock, this.#presence, timing.heartbeatMs, (latenessMs) => {
      metrics.late('heartbeat', latenessMs);
    });
    metrics.show(this.#presence);
    const facts = new FactsReader(parts);
    const source = new SourceRole(parts, facts);
    facts.knowledge = (vmId) => source.knowledge(vmId);
    const target = new TargetRole(parts, facts, createRoomCheck(parts, {
      view: this.#view,
      networks: this.#networks,
      leaderWatches: () => this.#watchers.leaderWatches,
    }));
    const vmOrders = new VmOrders(parts, this.#reconciler, { source, target }, facts);
    this.service = agentService({
      parts,
      presence: this.#presence,
      watchers: this.#watchers,
      vmOrders,
      adoption: new Adoption(parts, this.#reconciler, vmOrders, () => this.#view.vms.refresh()),
      source,
      target,
      facts,
      bmcs: this.#bmcs,
      networks: this.#networks,
      logs: new VmLogs(parts),
      storageLocks: new StorageLockBreaker(parts),
      stopAll: async () => {
        this.#reconciler.holdStarts(STARTS_HELD_MS);
        return await stopAllVms(parts, STOP_GRACE_MS);
      },
      incarnation: () => this.#membership.incarnation ?? 0n,
      setDebug: options.setDebug ?? (() => undefined),
    });
  }

  /** Rejects where the agent is told to fence itself in a way that cannot work. */
  checkSelfFence(): Promise<void> {
    return this.#selfFence.check();
  }

  start(): void {
    const { env } = this.#parts;
    env.log.log('s', 'starting', { node: this.#parts.config.node });
    assignFromMemory(this.#parts, this.#reconciler);
    this.#nextTick();
    void this.#listen();
    void this.#bmcs.run();
    this.#selfFence.start();
    this.#membership.run().catch((error: unknown) => {
      const fatal = error instanceof Error ? error : new Error(String(error));
      env.log.error('the agent cannot take part', { error: fatal });
      this.options.onFatal?.(fatal);
    });
  }

  notReady(): string {
    const { notJoined, storeLost } = this.#membership;
    if (notJoined !== '') return `NOT_JOINED: ${notJoined}`;
    return storeLost === '' ? '' : `STORE_LOST: ${storeLost}`;
  }

  notLive(): string {
    const { env, timing } = this.#parts;
    const sinceMs = env.clock.nowMs() - this.#tickedAtMs;
    return sinceMs <= TICKS_LIMIT * timing.tickMs ? '' : `no tick succeeded for ${String(Math.round(sinceMs))} ms`;
  }

  async leave(): Promise<void> {
    const goingDown = (await this.#parts.env.shutdown?.goingDown()) ?? 'no';
    if (goingDown !== 'no') await this.#leaving.leave(goingDown);
  }

  async stop(): Promise<void> {
    const { env, stopped } = this.#parts;
    if (stopped.aborted) return;
    env.log.info('stopping; running VMs are not touched');
    this.#stopping.abort(new Error('the agent stops'));
    this.#tick?.stop();
    this.#reconciler.stop();
    await this.#selfFence.stop();
    try {
      await this.#membership.leave();
    } catch (error) {
      env.log.warn('the lease could not be given back; it ends by itself', { error });
    }
    await env.hypervisor.close();
  }

  /** Looks at everything, every few seconds, whether or not the last look has ended. */
  #nextTick(): void {
    const { env, metrics, timing, stopped } = this.#parts;
    if (stopped.aborted) return;
    const keepalive = env.log.child('keepalive');
    const dueMs = env.clock.nowMs() + timing.tickMs;
    this.#tick = env.clock.after(timing.tickMs, () => {
      const lateMs = env.clock.nowMs() - dueMs;
      metrics.late('tick', lateMs);
      this.#presence.lagMs = Math.max(lateMs, env.loopDelayMs?.() ?? 0);
      keepalive.log('t', ...tickLine(this.#presence.node()));
      this.#nextTick();
      void this.#look();
      this.#tickedAtMs = env.clock.nowMs();
    });
  }

  async #look(): Promise<void> {
    void this.#view.usages.refresh();
    void this.#view.hosts.refresh();
    for (const rarely of this.#rarely) rarely.look();
    await this.#view.vms.refresh();
    this.#reconciler.kickAll(this.#view.domains.keys());
  }

  /** Events make the looks quick; the ticks make up for those that are lost. */
  async #listen(): Promise<void> {
    const { env, stopped } = this.#parts;
    await this.#look();
    try {
      for await (const event of env.hypervisor.events(stopped)) {
        if (event.kind === 'iteration') continue;
        if (event.kind === 'resync') {
          void this.#look();
        } else {
          void this.#view.vms.refresh();
          this.#reconciler.kickKnown(event.uuid);
        }
      }
    } catch (error) {
      if (!stopped.aborted) env.log.error('events of the hypervisor are lost; ticks go on', { error });
    }
  }
}
