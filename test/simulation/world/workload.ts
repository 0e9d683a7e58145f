// SPDX-License-Identifier: Apache-2.0
import { MigrationMode, MigrationState, VmDesired, type SchedulerServiceClient } from '@lockstep/sdk/v1';
import { LockstepError, type Reason } from '@lockstep/services/core/errors/catalogue.js';
import { sleep } from '@lockstep/services/platform/clock/clock.js';
import type { PeerCall } from '@lockstep/services/platform/rpc/peers.js';
import { Chance } from './chance.js';
import { DESK, type Cluster } from './cluster.js';
import { Life } from './life.js';

type Api = SchedulerServiceClient<PeerCall>;

/** Answers after which nobody knows whether it was done; asking again is what a client does. */
const UNSURE: readonly Reason[] = ['NODE_UNREACHABLE', 'DEADLINE', 'OUTCOME_UNKNOWN', 'CANCELLED', 'STORE_UNAVAILABLE'];
/** Answers of a cluster that is busy with itself: nothing was done. */
const LATER: readonly Reason[] = ['NO_LEADER', 'NOT_LEADER', 'STOPPING', 'STORE_CONFLICT'];
const TRIES = 4;
const MODES = [MigrationMode.UNSPECIFIED, MigrationMode.LIVE_ONLY, MigrationMode.LIVE_OR_SHUTDOWN, MigrationMode.SHUTDOWN];

/** How a wish ended, as its operator knows. */
type Outcome<T> = { kind: 'done'; answer: T } | { kind: 'refused'; reason: Reason } | { kind: 'unsure' };

/** What operators have been told of a VM. */
interface KnownVm {
  id: string;
  name: string;
  /** Somebody is at its life right now. */
  busy: boolean;
  /** A wish for it may be carried out late: what it shall be is not known any more. */
  unsure: boolean;
}

/** Operators with wishes, who hold the cluster to every answer that it gives. */
export class Workload {
  readonly #chance: Chance;
  /** How a move is asked for: a stream of its own. */
  readonly #modes: Chance;
  readonly #repeats: Chance;
  readonly #tries: Chance;
  readonly #life: Life;
  readonly #vms = new Map<string, KnownVm>();
  readonly #stopping = new AbortController();
  #made = 0;
  /** What was asked for and done, for the figures of a run. */
  readonly counts = { wishes: 0, done: 0, refused: 0, unsure: 0 };

  constructor(private readonly cluster: Cluster) {
    this.#chance = new Chance(`${String(cluster.plan.seed)}/operators`, cluster.clock);
    this.#modes = new Chance(`${String(cluster.plan.seed)}/modes`, cluster.clock);
    this.#repeats = new Chance(`${String(cluster.plan.seed)}/repeats`, cluster.clock);
    this.#tries = new Chance(`${String(cluster.plan.seed)}/tries`, cluster.clock);
    this.#life = new Life('desk', DESK, cluster.clock, { rate: 1, wallSkewMs: () => 0 });
  }

  start(): void {
    for (let number = 1; number <= this.cluster.plan.operators; number++) {
      void this.#work().catch((error: unknown) => {
        if (!this.#stopping.signal.aborted) this.cluster.violations.report('WORKLOAD', String(error));
      });
    }
  }

  stop(): void {
    this.#stopping.abort(new Error('the day is over'));
  }

  async #work(): Promise<void> {
    const { plan } = this.cluster;
    const signal = this.#stopping.signal;
    await sleep(this.cluster.clock, this.#chance.between(500, 4_000), signal);
    while (!signal.aborted) {
      await this.#wish();
      await sleep(this.cluster.clock, this.#chance.longTailed(plan.thinkMs, 60_000), signal);
    }
  }

  async #wish(): Promise<void> {
    if (this.#vms.size < this.cluster.plan.vms && this.#chance.hit(0.6)) {
      await this.#define();
      return;
    }
    const vm = this.#chance.pick([...this.#vms.values()]);
    if (vm === undefined) return;
    const draw = this.#chance.random.next();
    if (draw < 0.55) await this.#migrate(vm);
    else if (draw < 0.65) await this.#cancel();
    else if (draw < 0.7) await this.#look();
    else if (!vm.busy) await this.#live(vm, draw);
  }

  /** One wish about a VM's life at a time, so that it is known what it shall be. */
  async #live(vm: KnownVm, draw: number): Promise<void> {
    vm.busy = true;
    try {
      const { name: node = '' } = this.#chance.hit(0.3) ? (this.#chance.pick(this.cluster.agents) ?? {}) : {};
      if (draw < 0.78) await this.#turn(vm, VmDesired.STOPPED, (api) => api.stopVm({ vm: vm.id, force: this.#chance.hit(0.3) }));
      else if (draw < 0.92) await this.#turn(vm, VmDesired.RUNNING, (api) => api.startVm({ vm: vm.id, node }));
      else if (draw < 0.95) await this.#ask(`restart ${vm.name}`, (api) => api.restartVm({ vm: vm.id, force: this.#chance.hit(0.5) }));
      else await this.#undefine(vm);
    } finally {
      vm.busy = false;
    }
  }

  async #turn(vm: KnownVm, desired: VmDesired, call: (api: Api) => Promise<unknown>): Promise<void> {
    const what = desired === VmDesired.RUNNING ? 'start' : 'stop';
    const outcome = await this.#ask(`${what} ${vm.name}`, call);
    if (outcome.kind === 'unsure') vm.unsure = true;
    if (outcome.kind !== 'done' || vm.unsure) return;
    const record = this.cluster.records.vms.get(vm.id);
    if (record?.desired === desired) return;
    const is = record === undefined ? 'does not exist' : `is ${String(record.desired)}`;
    this.cluster.violations.report('ACKNOWLEDGED', `${vm.name}: ${what} was acknowledged, and its record ${is}`);
  }

  async #define(): Promise<void> {
    const number = ++this.#made;
    const name = `vm${String(number)}`;
    const requestId = `define-${String(number)}`;
    const { name: node = '' } = this.#chance.hit(0.5) ? (this.#chance.pick(this.cluster.agents) ?? {}) : {};
    const domainXml = this.#domainXml(name);
    const request = { requestId, node, start: this.#chance.hit(0.85), spec: { domainXml, ...this.#limits(), shutdownLimit: { seconds: 20n, nanos: 0 } } };
    const outcome = await this.#ask(`define ${name}`, (api) => api.defineVm(request));
    if (outcome.kind !== 'done') return;
    const { id = '' } = outcome.answer.vm ?? {};
    await this.#repeat(`define ${name}`, async (api) => (await api.defineVm(request)).vm?.id, id);
    this.#vms.set(id, { id, name, busy: false, unsure: false });
    if (!this.cluster.records.vms.has(id)) {
      this.cluster.violations.report('ACKNOWLEDGED', `${name} was defined, and there is no record of it`);
    }
  }

  /** How often a VM may be started after it failed to, and elsewhere then. */
  #limits(): { maxRestart: number; maxRelocate?: number } {
    const isBounded = this.cluster.plan.faults.includes('few-tries') && this.#tries.hit(0.7);
    return isBounded ? { maxRestart: this.#tries.whole(0, 2), maxRelocate: this.#tries.whole(0, 3) } : { maxRestart: 1_000_000 };
  }

  /** The same request again, as by a client that lost the answer: it has had its one effect. */
  async #repeat(what: string, call: (api: Api) => Promise<string | undefined>, id: string): Promise<void> {
    if (!this.cluster.plan.faults.includes('repeat') || !this.#repeats.hit(0.5)) return;
    await sleep(this.cluster.clock, this.#repeats.longTailed(5_000, 40_000));
    const outcome = await this.#ask(`${what}, once more`, call);
    if (outcome.kind !== 'done' || outcome.answer === id) return;
    this.cluster.violations.report('IDEMPOTENCE', `${what}: the same request made ${id}, then ${String(outcome.answer)}`);
  }

  async #undefine(vm: KnownVm): Promise<void> {
    this.cluster.mayVanish.add(vm.id);
    const outcome = await this.#ask(`undefine ${vm.name}`, (api) => api.undefineVm({ vm: vm.id }));
    if (outcome.kind === 'done' || (outcome.kind === 'refused' && outcome.reason === 'VM_NOT_FOUND')) {
      this.#vms.delete(vm.id);
      if (outcome.kind === 'done' && this.cluster.records.vms.has(vm.id)) {
        this.cluster.violations.report('ACKNOWLEDGED', `${vm.name} was undefined, and its record is still there`);
      }
    }
  }

  async #migrate(vm: KnownVm): Promise<void> {
    const { name: targetNode = '' } = this.#chance.hit(0.5) ? (this.#chance.pick(this.cluster.agents) ?? {}) : {};
    const requestId = `migrate-${String(++this.#made)}`;
    const slow = this.#chance.hit(0.3) ? BigInt(this.#chance.whole(5, 60)) * 1_000_000n : 0n;
    const mode = this.#modes.pick(MODES) ?? MigrationMode.UNSPECIFIED;
    const request = { requestId, vm: vm.id, targetNode, mode, bandwidthLimitBytesPerSecond: slow };
    const outcome = await this.#ask(`migrate ${vm.name} to ${targetNode === '' ? 'anywhere' : targetNode}`, (api) => api.createMigration(request));
    if (outcome.kind !== 'done') return;
    const { id = '' } = outcome.answer.migration ?? {};
    await this.#repeat(`move ${vm.name}`, async (api) => (await api.createMigration(request)).migration?.id, id);
    if (!this.cluster.records.migrations.has(id)) {
      this.cluster.violations.report('ACKNOWLEDGED', `migration ${id} was acknowledged, and there is no record of it`);
    }
  }

  async #cancel(): Promise<void> {
    const open = this.#chance.pick(this.cluster.records.open());
    if (open === undefined) return;
    const outcome = await this.#ask(`cancel ${open.id.slice(-6)}`, (api) => api.cancelMigration({ id: open.id }));
    if (outcome.kind !== 'done') return;
    const record = this.cluster.records.migrations.get(open.id);
    if (record?.cancelRequested !== true && record?.state !== MigrationState.ABORTED) {
      this.cluster.violations.report('ACKNOWLEDGED', `the cancel of migration ${open.id.slice(-6)} was acknowledged and is not on record`);
    }
  }

  /** Whatever waits says why. */
  async #look(): Promise<void> {
    const outcome = await this.#ask('look', (api) => api.listMigrations({ openOnly: true }));
    if (outcome.kind !== 'done') return;
    for (const { id, state, waitingReason } of outcome.answer.migrations) {
      if (state === MigrationState.PENDING && waitingReason === '') {
        this.cluster.violations.report('REASON', `migration ${id.slice(-6)} waits without a reason`);
      }
    }
  }

  /** As a client of the API does it: another replica, the same request, a few times. */
  async #ask<T>(what: string, call: (api: Api) => Promise<T>): Promise<Outcome<T>> {
    const { trace, replicas } = this.cluster;
    this.counts.wishes += 1;
    let unsure = false;
    const schedulers = replicas.filter(({ role }) => role === 'scheduler');
    for (let tries = 1; ; tries++) {
      const { address = '' } = this.#chance.pick(schedulers) ?? {};
      trace.add('desk', `${what} (by ${address})`);
      try {
        const answer = await call(this.cluster.rpc.peers(this.#life).scheduler(address));
        trace.add('desk', `${what}: done`);
        this.counts.done += 1;
        return { kind: 'done', answer };
      } catch (error) {
        const reason = this.#reasonOf(what, error);
        trace.add('desk', `${what}: ${reason}`);
        unsure ||= UNSURE.includes(reason);
        if (!unsure && !LATER.includes(reason)) {
          this.counts.refused += 1;
          return { kind: 'refused', reason };
        }
        if (tries >= TRIES || this.#stopping.signal.aborted) break;
      }
      await sleep(this.cluster.clock, this.#chance.between(200, 3_000));
    }
    this.counts[unsure ? 'unsure' : 'refused'] += 1;
    return unsure ? { kind: 'unsure' } : { kind: 'refused', reason: 'NO_LEADER' };
  }

  #reasonOf(what: string, error: unknown): Reason {
    if (!(error instanceof LockstepError)) throw error;
    if (error.reason === 'INTERNAL') this.cluster.violations.report('INTERNAL', `${what}: ${error.message}`);
    return error.reason;
  }

  #domainXml(name: string): string {
    const chance = this.#chance;
    const simulated = [
      `resident="${String(chance.whole(16, 512))}MiB"`,
      `dirty-rate="${String(chance.whole(0, 40))}MiB"`,
      `working-set="${String(chance.whole(1, 64))}MiB"`,
      `shutdown="${chance.hit(0.2) ? 'ignored' : 'obeyed'}"`,
      `shutdown-ms="${String(chance.whole(100, 8_000))}"`,
    ].join(' ');
    return (
      `<domain type='kvm'><name>${name}</name><memory unit='GiB'>${String(chance.whole(1, 4))}</memory><vcpu>1</vcpu>` +
      `<metadata><lockstep:vm xmlns:lockstep='https://lockstep.dev/xmlns/domain/1'><lockstep:simulated ${simulated}/>` +
      '</lockstep:vm></metadata></domain>'
    );
  }
}
