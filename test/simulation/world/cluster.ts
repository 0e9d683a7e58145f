// SPDX-License-Identifier: Apache-2.0
import { createVirtualClock, type VirtualClock } from '@lockstep/services/platform/clock/virtual.js';
import { type Hypervisor, HypervisorError } from '@lockstep/services/platform/hypervisor/hypervisor.js';
import {
  type CopyChange,
  createSimulatedHost,
  createSimulatedNetwork,
  type SimulatedNetwork,
} from '@lockstep/services/platform/hypervisor/simulated.js';
import { createSeededRandom } from '@lockstep/services/platform/random/seeded.js';
import { createEmbeddedStore } from '@lockstep/services/platform/store/embedded.js';
import { Chance } from './chance.js';
import { compileLater } from './engine.js';
import { EndsChecker } from './ends-checker.js';
import { GuestChecker } from './guest-checker.js';
import { type Life, withMethods } from './life.js';
import { useLightSignals } from './light-signals.js';
import { AgentProcess, type Process, ReplicaProcess } from './machine.js';
import { Network } from './network.js';
import { OrderChecker } from './order-checker.js';
import { isCalm, type Plan } from './plan.js';
import { QueueChecker } from './queue-checker.js';
import { RecordChecker } from './record-checker.js';
import { Rpc } from './rpc.js';
import { STORE, StoreSite } from './store-link.js';
import { Trace } from './trace.js';
import { Violations } from './violations.js';

compileLater();
useLightSignals();
// Most errors are answers here: whoever reads a stack needs its first lines, and each line is paid for with each error.
Error.stackTraceLimit = 4;

const PPM = 1e-6;

/** Where operators sit. */
export const DESK = 'desk';

/** What a host has. */
export interface HostShape {
  name: string;
  memoryBytes: bigint;
  cpus: number;
}

/** Calls of a hypervisor that an agent is about to make; what this returns is thrown instead. */
export type HypervisorHook = (host: string, method: string, args: readonly unknown[]) => HypervisorError | undefined;

/** Called when a process comes to a named point of its code. */
export type PointHook = (process: Process, life: Life, point: string) => void;

/** Calls that a hypervisor may fail, with or without having done them. */
const MAY_FAIL = new Set([
  ...['define', 'stampEpoch', 'start', 'shutdown', 'destroy', 'resume', 'undefine', 'list', 'find', 'openOutgoing'],
  ...['openIncoming', 'begin', 'prepare', 'finish', 'confirm', 'cancel', 'abort', 'progress'],
]);

/** A whole cluster under a virtual clock: the services' own code, on parts of the world that a seed governs. */
export class Cluster {
  readonly clock: VirtualClock = createVirtualClock();
  readonly trace: Trace;
  readonly violations: Violations;
  /** For what belongs to no other concern: lives, disks. */
  readonly chance: Chance;
  readonly network: Network;
  readonly rpc: Rpc;
  readonly store: StoreSite;
  readonly memoryLinks: SimulatedNetwork;
  readonly guests: GuestChecker;
  readonly records: RecordChecker;
  readonly orders: OrderChecker;
  readonly queue: QueueChecker;
  readonly agents: AgentProcess[] = [];
  readonly replicas: ReplicaProcess[] = [];
  /** Whether somebody asked for a VM to be forgotten. */
  readonly mayVanish = new Set<string>();
  /** Share of a hypervisor's calls that fail. */
  hypervisorIllness = 0;
  onPoint: PointHook = () => undefined;
  onHypervisorCall: HypervisorHook = () => undefined;
  /** Told of each change of a guest, after those who check. */
  onGuest: (change: CopyChange) => void = () => undefined;
  readonly #clocks = new Map<string, { rate: number; wallSkewMs: () => number }>();
  readonly #wallSkewsMs = new Map<string, number>();
  readonly #illChance: Chance;

  constructor(
    readonly plan: Plan,
    sink?: (line: string) => void,
    hosts: readonly HostShape[] = hostsOf(plan),
  ) {
    const seed = String(plan.seed);
    this.trace = new Trace(this.clock, sink);
    this.violations = new Violations(this.trace, () => this.clock.nowMs());
    this.chance = new Chance(`${seed}/lives`, this.clock);
    this.#illChance = new Chance(`${seed}/hypervisors`, this.clock);
    this.network = new Network(this.clock, new Chance(`${seed}/network`, this.clock));
    this.rpc = new Rpc(this.network, {
      internalError: (life, method, error) => {
        const detail = error instanceof Error ? (error.stack ?? error.message) : String(error);
        this.violations.report('INTERNAL', `${life.name} fails in ${method}: ${detail}`);
      },
      arrives: (life, method, request) => this.orders.arrives(life, method, request),
    });
    this.orders = new OrderChecker(
      this.violations,
      (node) => this.#agent(node)?.disk.remembered,
      (life) => this.records.epochOf(life),
    );
    this.guests = new GuestChecker(this.violations);
    this.records = new RecordChecker(
      this.violations,
      {
        mayVanish: (vmId) => this.mayVanish.has(vmId),
        memoryBytes: (node) => hosts.find(({ name }) => name === node)?.memoryBytes,
        lastRanOn: (vmId) => this.guests.lastRanOn(vmId),
        floor: (node, vmId) => BigInt(this.#agent(node)?.disk.remembered?.vms[vmId]?.floor ?? '0'),
        mayLive: (node, incarnation) => this.#agent(node)?.mayLive(this.orders.lifeOf(node, incarnation) ?? '') === true,
        joined: (node, incarnation, life) => {
          this.orders.joined(node, incarnation, life);
        },
      },
    );
    this.queue = new QueueChecker(this.violations, (id) => this.records.migrations.get(id), () => this.clock.nowMs(), isCalm(plan));
    const ends = new EndsChecker(this.violations);
    const embedded = createEmbeddedStore({
      clock: this.clock,
      random: createSeededRandom({ seed: `${seed}/store`, clock: this.clock }),
    });
    this.store = new StoreSite(embedded, this.network, new Chance(`${seed}/store-illness`, this.clock), (life, ops) => {
      this.records.committed(ops, life);
      this.queue.committed(ops);
      ends.committed(ops);
    });
    this.store.isPowered = (site) => this.rpc.isPowered(site);
    this.memoryLinks = createSimulatedNetwork({ bytesPerSecond: plan.linkBytesPerSecond });
    this.memoryLinks.observe((change) => {
      if (change.running || change.what !== 'spawned') {
        this.trace.add(change.host, `guest ${change.uuid.slice(0, 8)} ${change.what}${change.running ? ', runs' : ''}`);
      }
      this.guests.observe(change);
      this.onGuest(change);
    });
    this.#build(seed, hosts);
  }

  /** Every process that can be struck. */
  get processes(): Process[] {
    return [...this.agents, ...this.replicas];
  }

  /** Every machine on the network but the operators'. */
  get sites(): string[] {
    return [...new Set([...this.processes.map(({ site }) => site), STORE])];
  }

  start(): void {
    for (const process of this.processes) process.start();
  }

  clockOf(site: string): { rate: number; wallSkewMs: () => number } {
    const known = this.#clocks.get(site);
    if (known !== undefined) return known;
    const drifts = this.plan.faults.includes('clock');
    const rate = drifts ? 1 + this.chance.between(-300, 300) * PPM : 1;
    const made = { rate, wallSkewMs: () => this.#wallSkewsMs.get(site) ?? 0 };
    this.#clocks.set(site, made);
    return made;
  }

  setWallSkew(site: string, skewMs: number): void {
    this.#wallSkewsMs.set(site, skewMs);
  }

  /** A process came to a named point: the hook may end or stop it right there. */
  reached(process: Process, life: Life, point: string): Promise<void> {
    this.trace.add(life.name, `at ${point}`);
    this.onPoint(process, life, point);
    return Promise.resolve();
  }

  /** The hypervisor, with calls that fail now and then. */
  ill(life: Life, hypervisor: Hypervisor): Hypervisor {
    const decorate = <T extends object>(target: T): T =>
      withMethods(target, (method, object, name) => (...args: unknown[]): unknown => {
        const refused = this.onHypervisorCall(life.site, name, [object, ...args]);
        if (refused !== undefined) return Promise.reject(refused);
        return this.#perhaps(life, name, () => Reflect.apply(method, object, args), decorate);
      });
    return decorate(hypervisor);
  }

  #agent(node: string): AgentProcess | undefined {
    return this.agents.find(({ name }) => name === node);
  }

  #perhaps(life: Life, method: string, work: () => unknown, decorate: <T extends object>(target: T) => T): unknown {
    const fails = MAY_FAIL.has(method) && this.#illChance.hit(this.hypervisorIllness);
    const isDone = fails && this.#illChance.hit(0.5);
    if (fails) this.trace.add(life.name, `hypervisor: ${method} fails${isDone ? ', and is done all the same' : ''}`);
    if (fails && !isDone) return Promise.reject(new HypervisorError('failed', `injected: ${method} was not done`));
    const result = work();
    if (!(result instanceof Promise)) return result;
    return result.then((answer: unknown) => {
      if (fails) throw new HypervisorError('deadline', `injected: the answer of ${method} was lost`);
      return typeof answer === 'object' && answer !== null && 'close' in answer ? decorate(answer) : answer;
    });
  }

  #build(seed: string, hosts: readonly HostShape[]): void {
    const { schedulers, fencers } = this.plan;
    for (const { name, memoryBytes, cpus } of hosts) {
      const random = createSeededRandom({ seed: `${seed}/host/${name}`, clock: this.clock });
      const host = createSimulatedHost({
        clock: this.clock,
        random,
        network: this.memoryLinks,
        name,
        memoryBytes,
        cpus,
      });
      this.agents.push(new AgentProcess(this, host));
    }
    for (let number = 1; number <= schedulers; number++) this.replicas.push(new ReplicaProcess(this, 'scheduler', number));
    for (let number = 1; number <= fencers; number++) this.replicas.push(new ReplicaProcess(this, 'fencer', number));
  }
}

function hostsOf({ nodes, hostMemoryBytes: memoryBytes }: Plan): HostShape[] {
  return Array.from({ length: nodes }, (_, place) => ({ name: `n${String(place + 1)}`, memoryBytes, cpus: 16 }));
}
