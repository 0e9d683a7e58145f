// SPDX-License-Identifier: Apache-2.0
import {
  LeaderRole,
  OrderHeader,
  Vm,
  VmDesired,
  VmSpec,
  type Node,
  type NodeAgentServiceImplementation,
} from '@lockstep/sdk/v1';
import { nodeCodec, vmCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { createVirtualClock, type VirtualClock } from '../platform/clock/virtual.js';
import type { AgentEnv, Points } from '../platform/env.js';
import type { Ceph } from '../platform/host/ceph.js';
import { createSimulatedHost as createHostFigures } from '../platform/host/simulated.js';
import { createSimulatedConsoles, type SimulatedConsoles } from '../platform/host/simulated-consoles.js';
import { createSimulatedLinks, type SimulatedLinks } from '../platform/host/simulated-links.js';
import type { StorageLocks } from '../platform/host/storage-locks.js';
import type { Hypervisor } from '../platform/hypervisor/hypervisor.js';
import {
  createSimulatedHost,
  createSimulatedNetwork,
  type CopyChange,
  type SimulatedHost,
  type SimulatedNetwork,
} from '../platform/hypervisor/simulated.js';
import { createMemoryLogger, type MemoryLogger } from '../platform/log/memory.js';
import { bmcsOf, type SimulatedBmc } from '../platform/power/simulated.js';
import type { Metrics } from '../platform/metrics/metrics.js';
import { createSeededRandom } from '../platform/random/seeded.js';
import { createMemoryState, type MemoryState } from '../platform/state/memory.js';
import { createEmbeddedStore, type EmbeddedStore } from '../platform/store/embedded.js';
import { storeOn } from '../platform/store/assemble.js';
import type { StoreDriver } from '../platform/store/driver.js';
import type { Store } from '../platform/store/store.js';
import type { Watchdog } from '../platform/watchdog/watchdog.js';
import { createNodeAgent, type NodeAgent } from './agent.js';
import type { AgentConfig } from './config.js';

export const VM = '11111111-2222-4333-8444-555555555555';
const GIB = 2n ** 30n;

/** One host of a test: what outlives its agent, and the agent of the present life. */
export interface TestNode {
  name: string;
  host: SimulatedHost;
  state: MemoryState;
  /** The host's network links, which outlive its agent. */
  links: SimulatedLinks;
  consoles: SimulatedConsoles;
  log: MemoryLogger;
  agent: NodeAgent;
  service: NodeAgentServiceImplementation;
  fatal: Error[];
  /** The incarnation as the store has it. */
  incarnation(): Promise<bigint>;
  /** The process dies: its connections break, nothing of it acts any more. */
  kill(): Promise<void>;
  /** A new life on the same host and state. */
  restart(options?: LifeOptions): Promise<void>;
}

export interface LifeOptions {
  points?: Points;
  /** Decorates the hypervisor of this life. */
  hypervisor?: (real: Hypervisor) => Hypervisor;
  store?: (real: Store) => Store;
  /** Decorates the connection beneath the store of this life: leases are cut by it, too. */
  driver?: (real: StoreDriver) => StoreDriver;
  watchdog?: Watchdog;
  config?: Partial<AgentConfig>;
  metrics?: Metrics;
  ceph?: Ceph;
  storageLocks?: StorageLocks;
  /** The host's own IP addresses. */
  addresses?: readonly string[];
  loopDelayMs?: () => number;
}

/** A cluster of agents in one process, on a virtual clock, with an embedded store and simulated hosts. */
export class TestBed {
  readonly clock: VirtualClock = createVirtualClock();
  readonly network: SimulatedNetwork = createSimulatedNetwork();
  readonly embedded: EmbeddedStore = createEmbeddedStore({
    clock: this.clock,
    random: createSeededRandom({ seed: 'store', clock: this.clock }),
  });
  readonly store: Store = this.embedded.store('test');
  /** Every copy that ran at the same time as another one of its VM: INV-1 broken. */
  readonly doubled: string[] = [];
  readonly changes: CopyChange[] = [];
  leaderEpoch = 1n;
  /** By node; those that a test puts here are there for every agent. */
  readonly bmcs = new Map<string, SimulatedBmc>();
  readonly #runs = new Map<string, Set<string>>();

  constructor() {
    this.network.observe((change) => {
      this.changes.push(change);
      const hosts = this.#runs.get(change.uuid) ?? new Set<string>();
      this.#runs.set(change.uuid, hosts);
      if (change.running) hosts.add(change.host);
      else hosts.delete(change.host);
      if (hosts.size > 1) this.doubled.push(`${change.uuid} on ${[...hosts].join(' and ')}`);
    });
  }

  /** Lets time pass until the call has its answer. */
  async run<T>(promise: Promise<T>, limitMs = 400_000): Promise<T> {
    const call = { settled: false };
    const done = promise.finally(() => {
      call.settled = true;
    });
    done.catch(() => undefined);
    const untilMs = this.clock.nowMs() + limitMs;
    await this.clock.settle();
    while (!call.settled && this.clock.nowMs() < untilMs) {
      const dueMs = this.clock.nextDueMs();
      await this.clock.advance(dueMs === undefined ? 1 : Math.max(0, dueMs - this.clock.nowMs()));
    }
    if (call.settled) return done;
    throw new Error(`no answer within ${String(limitMs)} ms of virtual time`);
  }

  /** Hosts on which vCPUs of the VM run. */
  runningOn(uuid = VM): string[] {
    return [...(this.#runs.get(uuid) ?? [])];
  }

  async node(name: string, options: LifeOptions & { memoryBytes?: bigint } = {}): Promise<TestNode> {
    const { memoryBytes = 16n * GIB } = options;
    const random = createSeededRandom({ seed: name, clock: this.clock });
    const host = createSimulatedHost({ clock: this.clock, random, network: this.network, name, memoryBytes });
    const state = createMemoryState();
    const kept = { host, state, links: createSimulatedLinks(), consoles: createSimulatedConsoles() };
    const first = await this.#life(name, kept, options);
    let { die } = first;
    const node: TestNode = {
      name,
      ...kept,
      ...first,
      incarnation: async () => {
        const entry = await this.store.get(keys.node(name));
        return entry === undefined ? 0n : nodeCodec.decode(entry.value, entry.index).incarnation;
      },
      kill: async () => {
        die();
        await this.clock.settle();
      },
      restart: async (again = {}) => {
        const next = await this.#life(name, kept, again);
        ({ die } = next);
        Object.assign(node, next);
      },
    };
    return node;
  }

  /** What one life of an agent can reach; after its death its calls never settle and have no effect. */
  async #life(name: string, kept: Pick<TestNode, 'host' | 'state' | 'links' | 'consoles'>, options: LifeOptions) {
    const { host, state, links, consoles } = kept;
    const log = createMemoryLogger(() => this.clock.nowMs());
    const fatal: Error[] = [];
    const life = { dead: false };
    const hypervisor = host.hypervisor();
    const random = createSeededRandom({ seed: `${name}/store`, clock: this.clock });
    const realStore =
      options.driver === undefined
        ? this.embedded.store(name)
        : storeOn(options.driver(this.embedded.driver(name)), { clock: this.clock, random });
    const mortal = <T extends object>(target: T): T =>
      new Proxy(target, {
        get: (object, property) => {
          const value: unknown = Reflect.get(object, property);
          if (typeof value !== 'function') return value;
          return (...args: unknown[]): unknown => {
            if (life.dead) return new Promise(() => undefined);
            const result: unknown = Reflect.apply(value, object, args);
            if (!(result instanceof Promise)) return result;
            return result.then(
              (answer: unknown) => (life.dead ? new Promise(() => undefined) : answer),
              (error: unknown) => {
                if (life.dead) return new Promise(() => undefined);
                throw error;
              },
            );
          };
        },
      });
    const env: AgentEnv = {
      clock: {
        nowMs: () => this.clock.nowMs(),
        wallTime: () => this.clock.wallTime(),
        after: (delayMs, fire) =>
          this.clock.after(delayMs, () => {
            if (!life.dead) fire();
          }),
      },
      random: createSeededRandom({ seed: `${name}/agent`, clock: this.clock }),
      store: mortal(options.store?.(realStore) ?? realStore),
      log,
      peers: {
        agent: () => {
          throw new Error('no peers in this test');
        },
        scheduler: () => {
          throw new Error('no peers in this test');
        },
        fencer: () => {
          throw new Error('no peers in this test');
        },
      },
      points: options.points ?? (() => Promise.resolve()),
      hypervisor: mortal(options.hypervisor?.(hypervisor) ?? hypervisor),
      host: createHostFigures({
        totalBytes: host.info.memoryBytes,
        links: mortal(links),
        ceph: options.ceph,
        storageLocks: options.storageLocks,
        addresses: options.addresses,
        consoles,
      }),
      state: mortal(state),
      watchdog: options.watchdog,
      bmcs: bmcsOf(this.bmcs),
      metrics: options.metrics,
      loopDelayMs: options.loopDelayMs,
    };
    const config: AgentConfig = { node: name, address: `${name}:7701`, version: 'test', ...options.config };
    const agent = await createNodeAgent(env, config, { onFatal: (error) => fatal.push(error) });
    agent.start();
    await this.clock.advance(100);
    const die = (): void => {
      life.dead = true;
      // What the kernel does with a dead process's sockets.
      void hypervisor.close();
    };
    return { agent, service: agent.service, log, fatal, die };
  }

  /** The header of an order of the present leader to this node. */
  async header(node: TestNode, leaderEpoch = this.leaderEpoch): Promise<OrderHeader> {
    return OrderHeader.create({ leaderRole: LeaderRole.SCHEDULER, leaderEpoch, incarnation: await node.incarnation() });
  }

  /** Writes the VM's record as the Scheduler would. */
  async record(placement: { node: string; epoch: bigint; migrationId?: string }, options: Partial<Vm> = {}): Promise<void> {
    const vm = Vm.create({
      id: VM,
      name: 'web',
      spec: spec(),
      desired: VmDesired.RUNNING,
      ...options,
      placement: { lastEpoch: placement.epoch, migrationId: '', ...placement },
    });
    await this.store.txn([{ op: 'set', key: keys.vm(vm.id), value: vmCodec.encode(vm) }]);
  }

  /** Removes the VM's record as the Scheduler would, which keeps the last placement epoch. */
  async undefine(lastEpoch: bigint): Promise<void> {
    await this.store.txn([
      { op: 'delete', key: keys.vm(VM) },
      { op: 'set', key: keys.vmEpoch(VM), value: lastEpoch.toString() },
    ]);
  }

  async nodeRecord(name: string): Promise<Node | undefined> {
    const entry = await this.store.get(keys.node(name));
    return entry === undefined ? undefined : nodeCodec.decode(entry.value, entry.index);
  }
}

/** The same thing with some of its methods replaced. */
export function overriding<T extends object>(target: T, replaced: Partial<T>): T {
  return new Proxy(target, {
    get: (object, property) => {
      if (Object.hasOwn(replaced, property)) return Reflect.get(replaced, property) as unknown;
      const value: unknown = Reflect.get(object, property);
      if (typeof value !== 'function') return value;
      return (...args: unknown[]): unknown => Reflect.apply(value, object, args);
    },
  });
}

/** A context as a gRPC call has it. */
export function call(signal: AbortSignal = new AbortController().signal): Parameters<NodeAgentServiceImplementation['getNode']>[1] {
  return { signal } as Parameters<NodeAgentServiceImplementation['getNode']>[1];
}

export function domainXml(options: { uuid?: string; name?: string; memory?: string; simulated?: string } = {}): string {
  const { uuid = VM, name = 'web', memory = '1', simulated = '' } = options;
  return (
    `<domain type='kvm'><name>${name}</name><uuid>${uuid}</uuid><memory unit='GiB'>${memory}</memory><vcpu>2</vcpu>` +
    `<metadata><lockstep:vm xmlns:lockstep='https://lockstep.dev/xmlns/domain/1'><lockstep:simulated ${simulated}/>` +
    `</lockstep:vm></metadata></domain>`
  );
}

export function spec(options: Parameters<typeof domainXml>[0] & { maxRestart?: number; shutdownLimitS?: number } = {}): VmSpec {
  return VmSpec.create({
    domainXml: domainXml(options),
    ...(options.maxRestart === undefined ? {} : { maxRestart: options.maxRestart }),
    ...(options.shutdownLimitS === undefined ? {} : { shutdownLimit: { seconds: BigInt(options.shutdownLimitS), nanos: 0 } }),
  });
}

