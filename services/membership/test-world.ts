// SPDX-License-Identifier: Apache-2.0
import {
  LeaderRole,
  Node,
  WatchNodeResponse,
  type CheckBmcResponse,
  type ProbeResponse,
  type RecoverNodeRequest,
  type SchedulerServiceClient,
  type StopAllVmsResponse,
  type FencerServiceClient,
  type FencerServiceImplementation,
  type NodeAgentServiceClient,
  type WatchNodeRequest,
} from '@lockstep/sdk/v1';
import { Metadata, type CallContext } from 'nice-grpc-common';
import { LockstepError } from '../core/errors/catalogue.js';
import { leaderCodec, nodeCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { createVirtualClock, type VirtualClock } from '../platform/clock/virtual.js';
import type { Env, FencerEnv } from '../platform/env.js';
import { bmcsOf, createSimulatedBmc, type SimulatedBmc } from '../platform/power/simulated.js';
import { createMemoryLogger, type MemoryLogger } from '../platform/log/memory.js';
import type { PeerCall } from '../platform/rpc/peers.js';
import { createSeededRandom } from '../platform/random/seeded.js';
import { storeOn } from '../platform/store/assemble.js';
import type { StoreDriver } from '../platform/store/driver.js';
import { createEmbeddedStore, type EmbeddedStore } from '../platform/store/embedded.js';
import { StoreError, type Lease } from '../platform/store/store.js';

/** A driver of a client that can be cut off from the store: nothing goes out or comes back any more. */
export function cuttable(driver: StoreDriver): { driver: StoreDriver; cut: (isCut: boolean) => void } {
  const line = { isCut: false };
  const pass = (): void => {
    if (line.isCut) throw new StoreError('unavailable', 'cut off');
  };
  const through = async <R>(call: () => Promise<R>): Promise<R> => {
    pass();
    const result = await call();
    pass();
    return result;
  };
  return {
    driver: {
      get: (...args) => through(() => driver.get(...args)),
      list: (...args) => through(() => driver.list(...args)),
      txn: (...args) => through(() => driver.txn(...args)),
      createSession: (...args) => through(() => driver.createSession(...args)),
      renewSession: (...args) => through(() => driver.renewSession(...args)),
      destroySession: (...args) => through(() => driver.destroySession(...args)),
      members: (...args) => through(() => driver.members(...args)),
    },
    cut: (isCut) => {
      line.isCut = isCut;
    },
  };
}

/** Each host's own. */
export function hostUuidOf(name: string): string {
  return `00000000-0000-4000-8000-${Buffer.from(name).toString('hex').padStart(12, '0')}`;
}

/** What an agent says of its node, as far as a test cares. */
export type Said = Parameters<typeof Node.fromPartial>[0];

/** An agent that says what a test tells it to, to everybody who watches. */
export class FakeAgent {
  /** Requests of those who watch now. */
  readonly watchers: WatchNodeRequest[] = [];
  /** How often a stream was opened. */
  opened = 0;
  node: Node;
  /** What it writes into its record besides when it joins. */
  record: Said = {};
  vms: WatchNodeResponse['vms'] = [];
  /** What it answers when it is asked to check a node's BMC; where nothing is set, it does not answer. */
  readonly bmcs = new Map<string, CheckBmcResponse>();
  /** What it answers when it is asked to stop its VMs; undefined: it does not answer. */
  stopsVms: { runningVmIds: string[] } | undefined;
  heartbeatEveryMs = 1_000;
  #lease: Lease | undefined;
  #mode: 'up' | 'hung' | 'down' = 'up';
  #wakers = new Set<() => void>();
  #refusal: Error | undefined;

  constructor(
    private readonly world: World,
    readonly name: string,
  ) {
    this.node = Node.fromPartial({ name, address: `${name}:7701`, incarnation: 0n, hostUuid: hostUuidOf(name) });
  }

  /** Writes the record with the next incarnation, takes `alive/NODE`, and says `said` from then on. */
  async join(said: Said = { ready: true }): Promise<void> {
    const store = this.world.server.store(this.name);
    const entry = await store.get(keys.node(this.name));
    const before = entry === undefined ? this.node : nodeCodec.decode(entry.value, entry.index);
    const record = Node.fromPartial({ ...before, incarnation: before.incarnation + 1n, fencedBy: '', steady: false, ...this.record });
    await store.txn([{ op: 'set', key: keys.node(this.name), value: nodeCodec.encode(record) }]);
    this.node = Node.fromPartial({ ...record, ...said });
    this.#mode = 'up';
    await this.#lease?.release();
    this.#lease = await store.acquire({
      key: keys.alive(this.name),
      value: () => this.name,
      name: this.name,
      ttlMs: 15_000,
      renewEveryMs: 5_000,
      giveUpAfterMs: 12_000,
      lockDelayMs: 0,
    });
  }

  /** Tells something new to all who watch. */
  say(said: Said): void {
    this.node = Node.fromPartial({ ...this.node, ...said });
    this.#wake();
  }

  /** Refuses every watch from now on. */
  refuse(error: Error | undefined): void {
    this.#refusal = error;
    this.#wake();
  }

  /** `hung`: streams stay open and say nothing. `down`: they break and none can be opened. */
  async turn(mode: 'up' | 'hung' | 'down'): Promise<void> {
    this.#mode = mode;
    if (mode === 'down') this.world.server.failNode(this.name);
    else this.world.server.healNode(this.name);
    this.#wake();
    await this.world.clock.settle();
  }

  /** Whether it answers those who ask now. */
  answers(): boolean {
    return this.#mode === 'up';
  }

  /** The session ends, as it does some time after its agent died. */
  async loseSession(): Promise<void> {
    await this.#lease?.release();
    this.#lease = undefined;
  }

  async *watch(request: WatchNodeRequest, signal: AbortSignal): AsyncGenerator<WatchNodeResponse> {
    this.opened += 1;
    if (this.#mode === 'down') throw new LockstepError('NODE_UNREACHABLE', `${this.name} does not answer`);
    this.watchers.push(request);
    let told: { node: Node; vms: WatchNodeResponse['vms'] } | undefined;
    try {
      for (let sequence = 1n; ; sequence += 1n) {
        while (this.#mode === 'hung') await this.#nextBeat(signal);
        if (this.#isDown()) throw new LockstepError('NODE_UNREACHABLE', `${this.name} does not answer`);
        if (this.#refusal !== undefined) throw this.#refusal;
        const { node, vms } = this;
        const before = told;
        told = { node, vms };
        yield WatchNodeResponse.fromPartial({
          sequence,
          ...(before?.node === node ? {} : { node }),
          vmsComplete: before === undefined,
          vms: vms.filter((vm) => before?.vms.includes(vm) !== true),
          vmsGone: (before?.vms ?? [])
            .filter(({ vmId }) => !vms.some((vm) => vm.vmId === vmId))
            .map(({ vmId }) => vmId),
        });
        await this.#nextBeat(signal);
      }
    } finally {
      this.watchers.splice(this.watchers.indexOf(request), 1);
    }
  }

  #isDown(): boolean {
    return this.#mode === 'down';
  }

  #wake(): void {
    for (const wake of [...this.#wakers]) wake();
  }

  #nextBeat(signal: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const settle = (): void => {
        timer.stop();
        this.#wakers.delete(wake);
        signal.removeEventListener('abort', onAbort);
      };
      const wake = (): void => {
        settle();
        resolve();
      };
      const onAbort = (): void => {
        settle();
        reject(new Error('the watcher left'));
      };
      const timer = this.world.clock.after(this.heartbeatEveryMs, wake);
      this.#wakers.add(wake);
      signal.addEventListener('abort', onAbort, { once: true });
    });
  }
}

/** What a call brings along when it arrives. */
export function callContext({ metadata, signal }: { metadata?: Metadata; signal?: AbortSignal } = {}): CallContext {
  const ignore = (): void => undefined;
  return {
    metadata: metadata ?? Metadata(),
    peer: 'test',
    header: Metadata(),
    trailer: Metadata(),
    sendHeader: ignore,
    signal: signal ?? new AbortController().signal,
  };
}

/** A store, a clock and agents of a small cluster, for tests. */
export interface World {
  clock: VirtualClock;
  server: EmbeddedStore;
  log: MemoryLogger;
  agent: (name: string) => FakeAgent;
  /** The BMCs there are, by node. */
  bmcs: Map<string, SimulatedBmc>;
  /** Adds a node's BMC: when it switches the power off, its agent goes down and its session ends. */
  addBmc: (name: string) => SimulatedBmc;
  /** Paths over which probes find nobody: "OBSERVER NODE NETWORK", the network empty for the node's own address. */
  cutPaths: Set<string>;
  /** What the Scheduler was asked to recover; undefined: it cannot. */
  recoveries: RecoverNodeRequest[] | undefined;
  /** Makes a Scheduler lead, so that it is found. */
  leadScheduler: () => Promise<void>;
  /** Makes a Fencer reachable by the others, at its address. */
  serveFencer: (address: string, implementation: FencerServiceImplementation) => void;
  /** The Env of a service; `cut` takes the store away from it and gives it back. */
  envOf: (name: string, options?: { points?: Env['points'] }) => { env: FencerEnv; cut: (isCut: boolean) => void };
}

export function createWorld(seed = 'world'): World {
  const clock = createVirtualClock();
  const server = createEmbeddedStore({ clock, random: createSeededRandom({ seed, clock }) });
  const log = createMemoryLogger(() => clock.nowMs());
  const agents = new Map<string, FakeAgent>();
  const clientOf = (address: string): NodeAgentServiceClient<PeerCall> => {
    const name = address.split(':')[0] ?? '';
    const watchNode: NodeAgentServiceClient<PeerCall>['watchNode'] = (request, options) => {
      const agent = agents.get(name);
      if (agent === undefined) throw new LockstepError('NODE_UNREACHABLE', `nobody listens at ${address}`);
      return agent.watch(request as WatchNodeRequest, options?.signal ?? new AbortController().signal);
    };
    const checkBmc = (observer: string, node: string): Promise<CheckBmcResponse> => {
      const answer = agents.get(observer)?.bmcs.get(node);
      if (answer === undefined) return Promise.reject(new LockstepError('NODE_UNREACHABLE', `${observer} does not answer`));
      return Promise.resolve(answer);
    };
    const probe = (observer: string, peer: string): Promise<ProbeResponse> => {
      if (agents.get(observer)?.answers() !== true) {
        return Promise.reject(new LockstepError('NODE_UNREACHABLE', `${observer} does not answer`));
      }
      const [target = observer, network = ''] = peer === '' ? [observer] : peer.replace(/:\d+$/, '').split('-');
      const alive = agents.get(target)?.answers() === true && !world.cutPaths.has(`${observer} ${target} ${network}`);
      return Promise.resolve({ alive, detail: alive ? 'answered' : 'no answer', incarnation: 0n });
    };
    const stopAllVms = (node: string): Promise<StopAllVmsResponse> => {
      const agent = agents.get(node);
      if (agent?.answers() === true && agent.stopsVms !== undefined) return Promise.resolve(agent.stopsVms);
      return Promise.reject(new LockstepError('NODE_UNREACHABLE', `${node} does not answer`));
    };
    return new Proxy({} as NodeAgentServiceClient<PeerCall>, {
      get: (_, method) => {
        if (method === 'watchNode') return watchNode;
        if (method === 'probe') return ({ address: peer }: { address: string }) => probe(name, peer);
        if (method === 'stopAllVms') return () => stopAllVms(name);
        if (method === 'checkBmc') return ({ node }: { node: string }) => checkBmc(name, node);
        throw new Error(`the fake agent has no ${String(method)}`);
      },
    });
  };
  const fencers = new Map<string, FencerServiceImplementation>();
  const fencerAt = (address: string): FencerServiceClient<PeerCall> =>
    new Proxy({} as FencerServiceClient<PeerCall>, {
      get: (_, method) => (request: unknown, options?: { metadata?: Metadata; signal?: AbortSignal }) => {
        const call = Reflect.get(fencers.get(address) ?? {}, method) as
          | ((request: unknown, context: CallContext) => unknown)
          | undefined;
        if (call !== undefined) return call(request, callContext(options));
        return Promise.reject(new LockstepError('NODE_UNREACHABLE', `nobody listens at ${address}`, { address }));
      },
    });
  const schedulerAt = (): SchedulerServiceClient<PeerCall> =>
    new Proxy({} as SchedulerServiceClient<PeerCall>, {
      get: (_, method) => (request: unknown) => {
        if (method !== 'recoverNode') return Promise.reject(new LockstepError('NODE_UNREACHABLE', 'nobody listens'));
        if (world.recoveries === undefined) return Promise.reject(new LockstepError('NOT_IMPLEMENTED', 'not built yet'));
        world.recoveries.push(request as RecoverNodeRequest);
        return Promise.resolve({ vms: 1 });
      },
    });
  const world: World = {
    clock,
    server,
    log,
    agent: (name) => {
      const agent = agents.get(name) ?? new FakeAgent(world, name);
      agents.set(name, agent);
      return agent;
    },
    bmcs: new Map(),
    cutPaths: new Set(),
    recoveries: [],
    leadScheduler: async () => {
      await server.store('s1').acquire({
        key: keys.leader('scheduler'),
        value: () => leaderCodec.encode({ role: LeaderRole.SCHEDULER, name: 's1', address: 's1:7702', leaderEpoch: 1n }),
        name: 's1',
        ttlMs: 15_000,
        renewEveryMs: 5_000,
        giveUpAfterMs: 12_000,
        lockDelayMs: 0,
      });
    },
    addBmc: (name) => {
      const bmc = createSimulatedBmc({
        clock,
        name,
        guid: hostUuidOf(name),
        onPower: (state) => {
          const agent = world.agent(name);
          if (state === 'off') void agent.turn('down').then(() => agent.loseSession());
        },
      });
      world.bmcs.set(name, bmc);
      return bmc;
    },
    serveFencer: (address, implementation) => {
      fencers.set(address, implementation);
    },
    envOf: (name, { points = () => Promise.resolve() } = {}) => {
      const { driver, cut } = cuttable(server.driver(name));
      const random = createSeededRandom({ seed: `${seed}/${name}`, clock });
      const env: FencerEnv = {
        bmcs: bmcsOf(world.bmcs),
        clock,
        random,
        store: storeOn(driver, { clock, random }),
        log: log.child(name),
        peers: { agent: clientOf, scheduler: schedulerAt, fencer: fencerAt },
        points,
      };
      return { env, cut };
    },
  };
  return world;
}
