// SPDX-License-Identifier: Apache-2.0
import { type Migration, MigrationState, type Vm, VmDesired, VmState } from '@lockstep/sdk/v1';
import { isAborted } from '@lockstep/services/membership/back-off.js';
import { LockstepError } from '@lockstep/services/core/errors/catalogue.js';
import { sleep } from '@lockstep/services/platform/clock/clock.js';
import type { Cluster } from './cluster.js';
import { Operator } from './operator.js';

const EVERY_MS = 15_000;
/** What has only just changed may be without a word for a moment. */
const SPEECHLESS_MS = 40_000;

/** States that explain themselves where the VM shall run; all others need a reason. */
const UNDER_WAY: readonly VmState[] = [VmState.RUNNING, VmState.STARTING, VmState.STOPPING, VmState.MIGRATING, VmState.MIGRATING_LIVE];

/** Somebody who looks at everything again and again: whatever waits, or is not as it is wanted, says why. */
export class Reasons {
  readonly #desk: Operator;
  readonly #stopping = new AbortController();
  /** Since when what waits has said nothing. */
  readonly #since = new Map<string, number>();
  #lookedMs = -Infinity;

  constructor(private readonly cluster: Cluster) {
    this.#desk = new Operator(cluster);
  }

  start(): void {
    void this.#work();
  }

  stop(): void {
    this.#stopping.abort(new Error('seen enough'));
  }

  async #work(): Promise<void> {
    const { signal } = this.#stopping;
    while (!isAborted(signal)) {
      await sleep(this.cluster.clock, EVERY_MS, signal).catch(() => undefined);
      if (!isAborted(signal)) await this.#look();
    }
  }

  async #look(): Promise<void> {
    try {
      const { vms } = await this.#desk.scheduler('look at what VMs do', (api) => api.listVms({}));
      const { migrations } = await this.#desk.scheduler('look at what waits', (api) => api.listMigrations({ openOnly: true }));
      this.#hold([...vms.flatMap(ofVm), ...migrations.flatMap(ofMigration)]);
    } catch (error) {
      if (!(error instanceof LockstepError)) throw error;
      if (error.reason === 'INTERNAL') this.cluster.violations.report('INTERNAL', error.message);
      // Nobody answers: nobody can be held to having said nothing.
      this.#since.clear();
    }
  }

  #hold(speechless: readonly string[]): void {
    const nowMs = this.cluster.clock.nowMs();
    // What happened between two looks that are far apart nobody knows.
    if (nowMs - this.#lookedMs > EVERY_MS * 1.5) this.#since.clear();
    this.#lookedMs = nowMs;
    for (const what of [...this.#since.keys()]) if (!speechless.includes(what)) this.#since.delete(what);
    for (const what of speechless) {
      const sinceMs = this.#since.get(what) ?? nowMs;
      this.#since.set(what, sinceMs);
      if (nowMs - sinceMs >= SPEECHLESS_MS) this.cluster.violations.report('REASON', `${what} without a reason, for ${String(Math.round((nowMs - sinceMs) / 1000))} s`);
    }
  }
}

function ofVm({ name, desired, status }: Vm): string[] {
  if (desired !== VmDesired.RUNNING || status?.reason !== '' || UNDER_WAY.includes(status.state)) return [];
  if (status.state === VmState.PAUSED && status.detail === 'paused by its user') return [];
  return [`${name} shall run and is ${nameOf(VmState, status.state)}`];
}

function ofMigration({ id, state, waitingReason, reason, detail }: Migration): string[] {
  const says = state === MigrationState.PENDING ? waitingReason !== '' : state !== MigrationState.UNCERTAIN || (reason !== '' && detail !== '');
  return says ? [] : [`migration ${id.slice(-6)} is ${nameOf(MigrationState, state)}`];
}

function nameOf(names: Readonly<Record<string, unknown>>, value: number): string {
  return Object.keys(names).find((name) => names[name] === value) ?? String(value);
}
