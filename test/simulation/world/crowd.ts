// SPDX-License-Identifier: Apache-2.0
import { MigrationMode } from '@lockstep/sdk/v1';
import { isAborted } from '@lockstep/services/membership/back-off.js';
import { LockstepError } from '@lockstep/services/core/errors/catalogue.js';
import { sleep } from '@lockstep/services/platform/clock/clock.js';
import { Chance } from './chance.js';
import type { Cluster } from './cluster.js';
import { Operator } from './operator.js';

const EVERY_MS = 25_000;
const PRIORITIES = [-100, -50, 0, 0, 0, 50];

/** Somebody who wants many VMs moved at once, so that most have to wait: towards few nodes, the one before the other. */
export class Crowd {
  readonly #chance: Chance;
  readonly #desk: Operator;
  readonly #stopping = new AbortController();
  #asked = 0;

  constructor(private readonly cluster: Cluster) {
    this.#chance = new Chance(`${String(cluster.plan.seed)}/crowd`, cluster.clock);
    this.#desk = new Operator(cluster);
  }

  start(): void {
    if (this.cluster.plan.faults.includes('crowd')) void this.#work();
  }

  stop(): void {
    this.#stopping.abort(new Error('the day is over'));
  }

  async #work(): Promise<void> {
    const { signal } = this.#stopping;
    while (!isAborted(signal)) {
      await sleep(this.cluster.clock, this.#chance.longTailed(EVERY_MS, 60_000), signal).catch(() => undefined);
      if (!isAborted(signal)) await this.#rush();
    }
  }

  /** Whoever is there already, or moves already, is refused; that is the cluster's right. */
  async #rush(): Promise<void> {
    const { agents, records } = this.cluster;
    const towards = [this.#chance.pick(agents)?.name ?? ''];
    if (this.#chance.hit(0.4)) towards.push(this.#chance.pick(agents)?.name ?? '');
    if (this.#chance.hit(0.3)) await this.#limit();
    const ranked = this.#chance.hit(0.5);
    const wishes = [...records.vms.keys()].map((vm) => {
      const targetNode = this.#chance.pick(towards) ?? '';
      const priority = ranked ? (this.#chance.pick(PRIORITIES) ?? 0) : 0;
      // Slow enough that a queue stands for a while.
      const bandwidthLimitBytesPerSecond = BigInt(this.#chance.whole(20, 80)) * 1_000_000n;
      const requestId = `crowd-${String((this.#asked += 1))}`;
      return { vm, targetNode, priority, mode: MigrationMode.LIVE_ONLY, bandwidthLimitBytesPerSecond, requestId };
    });
    await Promise.all(
      wishes.map((request) => {
        const what = `crowd: move ${request.vm.slice(0, 8)} to ${request.targetNode}`;
        return this.#tried(() => this.#desk.scheduler(what, (api) => api.createMigration(request)));
      }),
    );
  }

  async #limit(): Promise<void> {
    const options = {
      migrationsPerCluster: this.#chance.whole(1, 6),
      migrationsInPerNode: this.#chance.whole(1, 3),
      migrationsOutPerNode: this.#chance.whole(1, 3),
    };
    await this.#tried(() => this.#desk.scheduler('crowd: set limits', (api) => api.updateOptions({ options })));
  }

  async #tried(deed: () => Promise<unknown>): Promise<void> {
    try {
      await deed();
    } catch (error) {
      if (!(error instanceof LockstepError)) throw error;
      if (error.reason === 'INTERNAL') this.cluster.violations.report('INTERNAL', error.message);
    }
  }
}
