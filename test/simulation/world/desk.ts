// SPDX-License-Identifier: Apache-2.0
import type { Migration, SchedulerServiceClient } from '@lockstep/sdk/v1';
import { LockstepError } from '@lockstep/services/core/errors/catalogue.js';
import { sleep } from '@lockstep/services/platform/clock/clock.js';
import type { PeerCall } from '@lockstep/services/platform/rpc/peers.js';
import { Cluster, DESK } from './cluster.js';
import { Life } from './life.js';
import type { ReplicaProcess } from './machine.js';
import { planOf, type Plan } from './plan.js';
import { RestChecker } from './rest.js';

type Scheduler = SchedulerServiceClient<PeerCall>;

const STEP_MS = 50;
const CALL_LIMIT_MS = 180_000;
const REST_LIMIT_MS = 900_000;

/** An operator at a quiet cluster: nothing fails there but what the test makes fail. */
export class Desk {
  readonly cluster: Cluster;
  readonly life: Life;
  #asked = 0;

  constructor(plan: Partial<Plan> = {}) {
    this.cluster = new Cluster({ ...planOf(1, { nodes: 3, schedulers: 3, faults: [] }), ...plan });
    this.life = new Life('desk', DESK, this.cluster.clock, { rate: 1, wallSkewMs: () => 0 });
  }

  get schedulers(): ReplicaProcess[] {
    return this.cluster.replicas.filter(({ role }) => role === 'scheduler');
  }

  /** Starts everything and waits until it leads and knows its nodes. */
  async open(): Promise<void> {
    this.cluster.start();
    await this.pass(15_000);
  }

  /** Lets time pass. */
  async pass(ms: number): Promise<void> {
    for (let passed = 0; passed < ms; passed += STEP_MS) await this.cluster.clock.advance(STEP_MS);
  }

  /** Lets time pass until a call is answered. */
  async until<T>(call: Promise<T>): Promise<T> {
    const state = { over: false };
    const watched = call.finally(() => (state.over = true));
    watched.catch(() => undefined);
    for (let passed = 0; !state.over && passed < CALL_LIMIT_MS; passed += STEP_MS) await this.cluster.clock.advance(STEP_MS);
    return await watched;
  }

  /** Lets time pass until it holds; fails after the limit. */
  async see(what: string, holds: () => boolean, limitMs = CALL_LIMIT_MS): Promise<void> {
    for (let passed = 0; !holds(); passed += STEP_MS) {
      if (passed > limitMs) throw new Error(`not seen in ${String(limitMs)} ms: ${what}`);
      await this.cluster.clock.advance(STEP_MS);
    }
  }

  /** Asks any replica that is alive, and again while nobody leads, as the SDK does. */
  async ask<T>(call: (scheduler: Scheduler) => Promise<T>): Promise<T> {
    const { clock } = this.cluster;
    const retried = async (): Promise<T> => {
      for (let tries = 0; ; tries += 1) {
        try {
          return await call(this.anyone());
        } catch (error) {
          const mayPass =
            error instanceof LockstepError && ['NO_LEADER', 'NOT_LEADER', 'LOST_CONTACT', 'STOPPING', 'NODE_UNREACHABLE', 'DEADLINE'].includes(error.reason);
          if (!mayPass || tries > 200) throw error;
          await sleep(clock, 500);
        }
      }
    };
    return await this.until(retried());
  }

  /** The API of one replica that is alive, each time another one. */
  anyone(): Scheduler {
    const alive = this.schedulers.filter((replica) => replica.alive);
    this.#asked += 1;
    const one = alive[this.#asked % Math.max(1, alive.length)] ?? this.schedulers[0];
    if (one === undefined) throw new Error('no Scheduler');
    return this.cluster.rpc.peers(this.life).scheduler(one.address);
  }

  /** A guest that runs on a node. `metadata` goes to the simulated hypervisor. */
  async running(name: string, node: string, { memoryMib = 64, simulated = '', ...spec }: GuestOptions = {}): Promise<string> {
    const metadata =
      simulated === ''
        ? ''
        : `<metadata><lockstep:vm xmlns:lockstep='https://lockstep.dev/xmlns/domain/1'><lockstep:simulated ${simulated}/></lockstep:vm></metadata>`;
    const domainXml = `<domain type='kvm'><name>${name}</name><memory unit='MiB'>${String(memoryMib)}</memory><vcpu>1</vcpu>${metadata}</domain>`;
    const { vm } = await this.ask((api) => api.defineVm({ node, start: true, spec: { domainXml, ...spec }, requestId: `define-${name}` }));
    if (vm === undefined) throw new Error('no VM in the answer');
    await this.see(`${name} runs on ${node}`, () => this.cluster.guests.runningOn(vm.id).includes(node));
    return vm.id;
  }

  /** Which replica leads, by its own account; undefined: none. */
  leader(): ReplicaProcess | undefined {
    return this.schedulers.find((replica) => replica.leads);
  }

  /** Kills whoever leads, and starts it again later. */
  async killLeader(awayMs = 30_000): Promise<void> {
    await this.see('a leader', () => this.leader() !== undefined);
    const leader = this.leader();
    leader?.end('killed');
    this.cluster.clock.after(awayMs, () => leader?.start());
  }

  /** Lets everything come to rest, and holds all invariants to it. */
  async rest(): Promise<void> {
    const rest = new RestChecker(this.cluster);
    let unrest = ['not looked yet'];
    for (let passed = 0; unrest.length > 0 && passed < REST_LIMIT_MS; passed += 2_000) {
      await this.cluster.clock.advance(2_000);
      unrest = await this.until(rest.unrest());
    }
    if (unrest.length > 0) throw new Error(`no rest: ${unrest.join('; ')}`);
    const violation = this.cluster.violations.first;
    if (violation !== undefined) throw new Error(`violated: ${JSON.stringify(violation)}`);
  }

  /** The record of a migration as the store has it. */
  migration(id: string): Migration | undefined {
    return this.cluster.records.migrations.get(id);
  }
}

interface GuestOptions {
  memoryMib?: number;
  /** Attributes of the simulated guest. */
  simulated?: string;
  [spec: string]: unknown;
}
