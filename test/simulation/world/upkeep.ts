// SPDX-License-Identifier: Apache-2.0
import {
  CompletionMethod,
  DisarmMode,
  type ClusterOptions,
  NetworkKind,
  NodeMode,
  Selector,
  ShutdownPolicy,
} from '@lockstep/sdk/v1';
import { isAborted } from '@lockstep/services/membership/back-off.js';
import { LockstepError } from '@lockstep/services/core/errors/catalogue.js';
import { HypervisorError } from '@lockstep/services/platform/hypervisor/hypervisor.js';
import { sleep } from '@lockstep/services/platform/clock/clock.js';
import { ByHand } from './by-hand.js';
import { Chance } from './chance.js';
import type { Cluster } from './cluster.js';
import type { AgentProcess } from './machine.js';
import { Operator } from './operator.js';

const THINK_MS = 15_000;
const AGAIN_MS = 2_000;
/** How long somebody watches. */
const WATCH_MS = 20_000;
const OFF_LEAST_MS = 5_000;
const OFF_MOST_MS = 120_000;

type Deed = () => Promise<unknown>;

/**
 * People who look after the hosts: maintenance, drains, options, networks, disarming, tests of BMCs, orderly shutdowns, and
 * watching. Whatever they change that would keep VMs from running they put right again once the day is over.
 */
export class Upkeep {
  readonly #chance: Chance;
  readonly #desk: Operator;
  readonly #stopping = new AbortController();
  readonly #networks: string[] = [];
  readonly #going = new Set<string>();
  readonly #byHand: ByHand;
  /** What those who step in have begun. */
  #steppingIn: Promise<unknown> = Promise.resolve();
  #made = 0;
  /** All is put right again. */
  done = true;

  constructor(private readonly cluster: Cluster) {
    this.#chance = new Chance(`${String(cluster.plan.seed)}/upkeep-done`, cluster.clock);
    this.#desk = new Operator(cluster);
    this.#byHand = new ByHand(cluster);
  }

  start(): void {
    const { faults } = this.cluster.plan;
    if (faults.includes('upkeep')) void this.#work(() => this.#upkeep());
    if (faults.includes('shutdown')) void this.#work(() => this.#goDown());
    if (faults.includes('by-hand')) this.#steppingIn = this.#work(() => this.#byHand.deed());
  }

  stop(): void {
    this.#stopping.abort(new Error('the day is over'));
    const { faults } = this.cluster.plan;
    if (!faults.includes('upkeep') && !faults.includes('by-hand')) return;
    this.done = false;
    void this.#putRight();
  }

  async #work(deed: Deed): Promise<void> {
    const { signal } = this.#stopping;
    const { clock } = this.cluster;
    while (!isAborted(signal)) {
      await sleep(clock, this.#chance.longTailed(THINK_MS, 60_000), signal).catch(() => undefined);
      if (!isAborted(signal)) await this.#tried(deed);
    }
  }

  /** What a cluster refuses is its right; what it cannot say is told. */
  async #tried(deed: Deed): Promise<boolean> {
    try {
      await deed();
      return true;
    } catch (error) {
      if (error instanceof HypervisorError) return false;
      if (!(error instanceof LockstepError)) throw error;
      if (error.reason === 'INTERNAL') this.cluster.violations.report('INTERNAL', error.message);
      return false;
    }
  }

  async #upkeep(): Promise<unknown> {
    const node = this.#chance.pick(this.cluster.agents)?.name ?? '';
    const deeds: Deed[] = [
      () => this.#maintain(node),
      () => this.#drain(node),
      () => this.#arm(),
      () => this.#setOptions(),
      () => this.#changeNetworks(),
      () => this.#changeVm(),
      () => this.#look(node),
      () => this.#watch(),
      () => this.#complete(),
      () => this.#desk.fencer(`test the fencing of ${node}`, (api) => api.testFencing({ node, powerCycle: this.#chance.hit(0.3) })),
    ];
    return this.#chance.pick(deeds)?.();
  }

  async #maintain(node: string): Promise<void> {
    const enabled = this.#chance.hit(0.6);
    await this.#desk.scheduler(`maintenance of ${node} ${enabled ? 'on' : 'off'}`, (api) => api.setMaintenance({ node, enabled, reason: 'upkeep' }));
  }

  async #drain(node: string): Promise<void> {
    const requestId = `drain-${String((this.#made += 1))}`;
    const { drain } = await this.#desk.scheduler(`drain ${node}`, (api) => api.createDrain({ node, requestId, validateOnly: this.#chance.hit(0.2) }));
    await sleep(this.cluster.clock, this.#chance.longTailed(THINK_MS, 60_000));
    const id = drain?.id ?? '';
    await this.#desk.scheduler('look at drains', (api) => api.listDrains({}));
    if (this.#chance.hit(0.5)) await this.#desk.scheduler(`cancel the drain of ${node}`, (api) => api.cancelDrain({ id }));
    else await this.#desk.scheduler(`${node} takes VMs again`, (api) => api.setMaintenance({ node, enabled: false }));
  }

  async #arm(): Promise<void> {
    const mode = this.#chance.pick([undefined, DisarmMode.FREEZE, DisarmMode.IGNORE]);
    if (mode === undefined) await this.#desk.fencer('arm', (api) => api.arm({}));
    else await this.#desk.fencer('disarm', (api) => api.disarm({ mode, reason: 'upkeep' }));
  }

  async #setOptions(): Promise<void> {
    const { FREEZE, MIGRATE, FAILOVER, CONDITIONAL } = ShutdownPolicy;
    const { MEM, MEMFREE, LOAD, VCPUS, VMS } = Selector;
    const options: Partial<ClusterOptions> = {
      shutdownPolicy: this.#chance.pick([FREEZE, MIGRATE, FAILOVER, CONDITIONAL]) ?? CONDITIONAL,
      selector: this.#chance.pick([MEM, MEMFREE, LOAD, VCPUS, VMS]) ?? MEM,
      migrationsPerCluster: this.#chance.whole(1, 10),
      migrationsInPerNode: this.#chance.whole(1, 3),
      migrationsOutPerNode: this.#chance.whole(1, 3),
    };
    await this.#desk.scheduler('set options', (api) => api.updateOptions({ options }));
  }

  async #changeNetworks(): Promise<void> {
    const gone = this.#chance.hit(0.3) ? this.#networks.pop() : undefined;
    if (gone !== undefined) {
      await this.#desk.scheduler(`delete network ${gone}`, (api) => api.deleteNetwork({ name: gone }));
      return;
    }
    const number = (this.#made += 1);
    const name = `net${String(number)}`;
    const { UNTAGGED, VLAN, VXLAN } = NetworkKind;
    const kind = this.#chance.pick([UNTAGGED, VLAN, VXLAN]) ?? VLAN;
    const network = { name, kind, bridge: `br${String(number)}`, uplink: 'eth0', tag: kind === UNTAGGED ? 0 : number, mtu: 0 };
    await this.#desk.scheduler(`create network ${name}`, (api) => api.createNetwork({ requestId: name, network }));
    this.#networks.push(name);
    await this.#desk.scheduler(`look at network ${name}`, (api) => api.getNetwork({ name }));
    await this.#desk.scheduler('look at networks', (api) => api.listNetworks({}));
  }

  /** What a VM is, never what is wanted of it: that is its operators' matter. */
  async #changeVm(): Promise<void> {
    const { id = '', spec } = this.#chance.pick([...this.cluster.records.vms.values()]) ?? {};
    if (spec === undefined) return;
    const change = { ...spec, priority: this.#chance.whole(0, 5), failback: this.#chance.hit(0.7), allowPostCopy: this.#chance.hit(0.5) };
    await this.#desk.scheduler(`change VM ${id.slice(0, 8)}`, (api) => api.updateVm({ vm: id, spec: change }));
    await this.#desk.scheduler(`explain VM ${id.slice(0, 8)}`, (api) => api.explainPlacement({ vm: id }));
  }

  async #look(node: string): Promise<void> {
    const desk = this.#desk;
    await desk.scheduler('look at the cluster', (api) => api.getCluster({}));
    await desk.scheduler('look at nodes', (api) => api.listNodes({}));
    await desk.scheduler(`look at ${node}`, (api) => api.getNode({ name: node }));
    await desk.scheduler('look at VMs', (api) => api.listVms({ node }));
    await desk.scheduler('look at events', (api) => api.listEvents({ pageSize: 20 }));
    if (this.cluster.plan.fencers === 0) return;
    await desk.fencer(`look at the evidence of ${node}`, (api) => api.getEvidence({ node }));
    await desk.fencer('look at all evidence', (api) => api.listEvidence({}));
    await desk.fencer('look at fence actions', (api) => api.listFenceActions({}));
  }

  async #watch(): Promise<void> {
    await this.#desk.scheduler('watch', async (api) => {
      const { signal, abort } = this.#forAWhile();
      const streams = [api.watchVms({}, { signal }), api.watchNodes({}, { signal }), api.watchEvents({}, { signal }), api.watchMigrations({}, { signal })];
      await Promise.all([...streams, api.watchDrains({}, { signal })].map((stream) => drained(stream))).finally(abort);
    });
  }

  #forAWhile(): { signal: AbortSignal; abort: () => void } {
    const controller = new AbortController();
    const abort = (): void => {
      controller.abort(new Error('seen enough'));
    };
    this.cluster.clock.after(WATCH_MS, abort);
    return { signal: controller.signal, abort };
  }

  async #complete(): Promise<void> {
    const { id } = this.#chance.pick(this.cluster.records.open()) ?? {};
    const method = this.#chance.hit(0.5) ? CompletionMethod.PAUSE : CompletionMethod.POST_COPY;
    if (id !== undefined) await this.#desk.scheduler(`complete migration ${id.slice(-6)}`, (api) => api.completeMigration({ id, method }));
  }

  /** A host goes down in order, and comes back after a while. */
  async #goDown(): Promise<void> {
    const agent = this.#chance.pick(this.cluster.agents);
    if (agent?.alive !== true || this.#going.size > 0) return;
    this.#going.add(agent.name);
    try {
      await agent.shutDown(this.#chance.hit(0.5) ? 'reboot' : 'shutdown');
    } finally {
      this.cluster.clock.after(this.#chance.between(OFF_LEAST_MS, OFF_MOST_MS), () => {
        this.#boot(agent);
      });
    }
  }

  #boot(agent: AgentProcess): void {
    this.#going.delete(agent.name);
    agent.gainPower();
    agent.start();
  }

  async #putRight(): Promise<void> {
    const { cluster } = this;
    await this.#steppingIn;
    const deeds: Deed[] = cluster.agents.map(({ name }) => async () => {
      const mode = cluster.records.nodes.get(name)?.mode;
      if (mode === undefined || mode === NodeMode.ACTIVE) return;
      await this.#desk.scheduler(`${name} takes VMs again`, (api) => api.setMaintenance({ node: name, enabled: false }));
    });
    if (cluster.plan.fencers > 0) deeds.push(() => this.#desk.fencer('arm', (api) => api.arm({})));
    deeds.push(() => this.#byHand.tidy());
    for (const deed of deeds) while (!(await this.#tried(deed))) await sleep(cluster.clock, AGAIN_MS);
    this.done = true;
  }
}

/** Reads to the end; being called away is one. */
async function drained(stream: AsyncIterable<unknown>): Promise<void> {
  try {
    for await (const message of stream) if (message === undefined) return;
  } catch (error) {
    if (error instanceof LockstepError && error.reason === 'INTERNAL') throw error;
  }
}
