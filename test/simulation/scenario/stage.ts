// SPDX-License-Identifier: Apache-2.0
import { ShutdownPolicy, VmDesired, vmDesiredToJSON, VmState, vmStateToJSON } from '@lockstep/sdk/v1';
import { HypervisorError } from '@lockstep/services/platform/hypervisor/hypervisor.js';
import { sleep } from '@lockstep/services/platform/clock/clock.js';
import { Cluster } from '../world/cluster.js';
import { Operator } from '../world/operator.js';
import type { AgentProcess } from '../world/machine.js';
import { STORE } from '../world/store-link.js';
import { planOf } from '../world/plan.js';
import { fencedFromTheStart, inErrorFromTheStart, type Recovery, type Scenario, type ScenarioVm, type VmFaults } from './format.js';

const MIB = 2n ** 20n;
/** What a case counts on where it does not say: any number, the same for all. */
const NODE_MEMORY_MIB = 65_536;
const NODE_CPUS = 64;
const VM_MEMORY_MIB = 1_024;
/** Until the first look at a cluster that has just started. */
const SETTLE_LIMIT_MS = 300_000;
const LOOK_MS = 1_000;

const POLICIES: Readonly<Record<string, ShutdownPolicy>> = {
  conditional: ShutdownPolicy.CONDITIONAL,
  migrate: ShutdownPolicy.MIGRATE,
  failover: ShutdownPolicy.FAILOVER,
  freeze: ShutdownPolicy.FREEZE,
};

/** A scenario's cluster as it is when its timeline begins, and what is noted of it meanwhile. */
export class Stage {
  readonly cluster: Cluster;
  readonly desk: Operator;
  readonly fenced = new Set<string>();
  readonly recoveries: Recovery[] = [];
  /** Every time a VM got another node. */
  readonly moves: Recovery[] = [];
  /** Hosts on their way down. */
  readonly goingDown = new Map<string, Promise<void>>();
  readonly ids = new Map<string, string>();
  #zeroMs = 0;
  #faultsOn = false;
  readonly #left = new Map<string, { starts: number; moves: number }>();
  readonly #inError: ReadonlySet<string>;

  constructor(
    readonly scenario: Scenario,
    sink?: (line: string) => void,
  ) {
    this.#inError = new Set(inErrorFromTheStart(scenario));
    const plan = { ...planOf(1, { schedulers: 2, vms: 0, faults: ['fencing'] }), fencers: 2 };
    const hosts = Object.entries(scenario.nodes).map(([name, { memory_mib = NODE_MEMORY_MIB, cpus = NODE_CPUS }]) => ({
      name,
      memoryBytes: BigInt(memory_mib) * MIB,
      cpus,
    }));
    this.cluster = new Cluster(plan, sink, hosts);
    this.desk = new Operator(this.cluster);
    this.cluster.onHypervisorCall = (host, method, args) => this.#refusal(host, method, args);
    this.cluster.records.onNode = ({ name, fencedBy }) => {
      if (fencedBy !== '') this.fenced.add(name);
    };
    this.cluster.records.onVm = ({ id, placement }, before) => {
      const [from, to] = [before?.placement?.node, placement?.node];
      const vm = this.nameOf(id);
      if (vm === undefined || from === undefined || to === undefined || from === to) return;
      const move = { at: this.seconds(), vm, from, to };
      this.moves.push(move);
      if (this.cluster.records.nodes.get(from)?.fencedBy !== '') this.recoveries.push(move);
    };
  }

  /** Where the scenario's own clock stands. */
  seconds(): number {
    return Math.round((this.cluster.clock.nowMs() - this.#zeroMs) / 100) / 10;
  }

  nameOf(id: string): string | undefined {
    return [...this.ids].find(([, known]) => known === id)?.[0];
  }

  agent(name: string): AgentProcess {
    const agent = this.cluster.agents.find((each) => each.name === name);
    if (agent === undefined) throw new Error(`there is no node ${name}`);
    return agent;
  }

  /** Everything runs as the scenario has it at its start; nodes that are never there at first are not started. */
  async setUp(): Promise<void> {
    const { cluster, scenario } = this;
    const late = this.#lateNodes();
    for (const process of cluster.processes) if (!late.has(process.name)) process.start();
    await cluster.clock.advance(20_000);
    const policy = scenario.options.ha?.shutdown_policy;
    if (policy !== undefined) await this.until(this.#setPolicy(policy));
    for (const [name, vm] of Object.entries(scenario.vms)) await this.until(this.define(name, vm));
    for (let passed = 0; !this.#settled() && passed < SETTLE_LIMIT_MS; passed += LOOK_MS) await cluster.clock.advance(LOOK_MS);
    for (const node of fencedFromTheStart(scenario)) await this.until(this.#fence(node));
    this.#faultsOn = true;
    this.#zeroMs = cluster.clock.nowMs();
    cluster.trace.add('STAGE', `"${scenario.name}" begins`);
  }

  async define(name: string, { node, desired, memory_mib = VM_MEMORY_MIB, vcpus = 1, max_restart = 1, max_relocate = 1 }: ScenarioVm): Promise<void> {
    // Told apart by their first letters, as the trace tells them.
    const uuid = `${String(this.ids.size + 1).padStart(8, '0')}-0000-4000-8000-000000000000`;
    const domainXml =
      `<domain type='kvm'><name>${name}</name><uuid>${uuid}</uuid><memory unit='MiB'>${String(memory_mib)}</memory><vcpu>${String(vcpus)}</vcpu>` +
      `<metadata><lockstep:vm xmlns:lockstep='https://lockstep.dev/xmlns/domain/1'><lockstep:simulated shutdown-ms='1000'/>` +
      '</lockstep:vm></metadata></domain>';
    const limits = this.#inError.has(name) ? { maxRestart: 0, maxRelocate: 0 } : { maxRestart: max_restart, maxRelocate: max_relocate };
    const spec = { domainXml, ...limits };
    const start = desired === 'RUNNING' || desired === 'UNMANAGED';
    const { vm } = await this.desk.scheduler(`define ${name} on ${node}`, (api) => api.defineVm({ requestId: `define-${name}`, node, start, spec }));
    this.ids.set(name, vm?.id ?? '');
    this.cluster.trace.add('STAGE', `${name} is guest ${vm?.id.slice(0, 8) ?? ''}`);
    this.#left.set(name, { starts: 0, moves: 0 });
    // What is left to its owner was running when it was left.
    while (desired === 'UNMANAGED' && this.cluster.guests.runningOn(this.id(name)).length === 0) await sleep(this.cluster.clock, LOOK_MS);
    if (desired === 'DISABLED' || desired === 'UNMANAGED') await this.want(name, VmDesired[desired]);
  }

  async want(name: string, desired: VmDesired): Promise<void> {
    await this.desk.scheduler(`${name} shall be ${vmDesiredToJSON(desired)}`, (api) => api.updateVm({ vm: this.id(name), desired }));
  }

  /** There the nodes themselves keep the store: without most of them on the network, nobody leads and nothing is written. */
  lookAtQuorum(): void {
    const { store, network, agents } = this.cluster;
    const heard = agents.filter(({ name, powered }) => powered && !network.isCut(name, STORE));
    store.illness = { ...store.illness, down: 2 * heard.length <= agents.length };
  }

  async #fence(node: string): Promise<void> {
    await this.desk.fencer(`fence ${node}`, (api) => api.createFenceAction({ node, reason: 'under way when the case begins' }));
  }

  async #setPolicy(word: string): Promise<void> {
    const shutdownPolicy = POLICIES[word];
    if (shutdownPolicy === undefined) throw new Error(`there is no shutdown policy ${word}`);
    await this.desk.scheduler(`shutdown policy ${word}`, (api) => api.updateOptions({ options: { shutdownPolicy } }));
  }

  id(name: string): string {
    return this.ids.get(name) ?? name;
  }

  /** Lets time pass until it has settled. */
  async until<T>(work: Promise<T>): Promise<T> {
    const state = { over: false };
    const watched = work.finally(() => (state.over = true));
    watched.catch(() => undefined);
    for (let passed = 0; !state.over && passed < SETTLE_LIMIT_MS; passed += 100) await this.cluster.clock.advance(100);
    return await watched;
  }

  /** Each VM's state and node, as the cluster tells them. */
  async final(): Promise<Record<string, { state: string; node: string }>> {
    const told: Record<string, { state: string; node: string }> = {};
    for (const [name, id] of this.ids) {
      const answer = await this.until(this.desk.scheduler(`look at ${name}`, (api) => api.getVm({ vm: id })).catch(() => undefined));
      if (answer?.vm === undefined) {
        // Nobody leads who could be asked: what can be seen is told.
        const [node] = this.cluster.store.illness.down ? this.cluster.guests.runningOn(id) : [];
        if (node !== undefined) told[name] = { state: 'RUNNING', node };
        continue;
      }
      const { status, placement } = answer.vm;
      told[name] = { state: vmStateToJSON(status?.state ?? VmState.UNKNOWN).replace('VM_STATE_', ''), node: placement?.node ?? '' };
    }
    return told;
  }

  /** Nodes that boot later than the first, or never, and are nobody's home. */
  #lateNodes(): Set<string> {
    const { timeline, nodes, vms } = this.scenario;
    const first = Math.min(...timeline.filter((step) => step.do === 'boot').map(({ at }) => at));
    if (!Number.isFinite(first)) return new Set();
    const early = new Set(timeline.filter((step) => step.do === 'boot' && step.at === first).map(({ node }) => node));
    const homes = new Set(Object.values(vms).map(({ node }) => node));
    return new Set(Object.keys(nodes).filter((node) => !early.has(node) && !homes.has(node)));
  }

  #settled(): boolean {
    return Object.entries(this.scenario.vms).every(([name, { desired, node }]) => {
      if (this.#inError.has(name)) return this.cluster.records.vms.get(this.id(name))?.trouble?.givenUp === true;
      const on = this.cluster.guests.runningOn(this.id(name)).join();
      return desired === 'RUNNING' || desired === 'UNMANAGED' ? on === node : on === '';
    });
  }

  /** What a VM's faults make of a call. */
  #refusal(host: string, method: string, [object, first]: readonly unknown[]): HypervisorError | undefined {
    if (method !== 'start' && method !== 'shutdown' && method !== 'perform') return undefined;
    const uuid = typeof first === 'string' ? first : ((object as { uuid?: string }).uuid ?? '');
    const name = this.nameOf(uuid);
    if (!this.#faultsOn) {
      return method === 'start' && this.#inError.has(name ?? '') ? new HypervisorError('failed', 'the case begins with this error') : undefined;
    }
    const faults: VmFaults | undefined = name === undefined ? undefined : this.scenario.vms[name]?.faults;
    const left = this.#left.get(name ?? '');
    if (faults === undefined || left === undefined) return undefined;
    if (faults.faulty_only_on !== undefined && faults.faulty_only_on !== host) return undefined;
    const injected = (what: string): HypervisorError => new HypervisorError('failed', `the scenario lets ${String(name)} fail to ${what} here`);
    if (method === 'start' && left.starts < (faults.start_fails_before_success ?? 0)) {
      left.starts += 1;
      return injected('start');
    }
    if (method === 'perform' && left.moves < (faults.migrate_fails_before_success ?? 0)) {
      left.moves += 1;
      return injected('move');
    }
    // Asking fails; what is forced is not asked.
    return method === 'shutdown' && faults.stop_fails === true ? injected('stop') : undefined;
  }
}
