// SPDX-License-Identifier: Apache-2.0
import type { CopyChange } from '@lockstep/services/platform/hypervisor/simulated.js';
import { Chance } from './chance.js';
import type { Cluster } from './cluster.js';
import type { Life } from './life.js';
import { type AgentProcess, ReplicaProcess, type Process } from './machine.js';

/** Longer than any lease: another leads meanwhile. */
const OVERLAP_LEAST_MS = 12_000;
const OVERLAP_MOST_MS = 45_000;
const AWAY_LEAST_MS = 8_000;
const AWAY_MOST_MS = 60_000;

/** Undone after a time, or when all faults end. */
type Until = (durationMs: number, mend: () => void) => void;

/** Strikes at moments that chance alone meets too rarely: around the commit point, and while two believe they lead. */
export class Aims {
  readonly #chance: Chance;
  readonly #commit: boolean;
  readonly #overlap: boolean;

  constructor(
    private readonly cluster: Cluster,
    private readonly until: Until,
  ) {
    const { plan } = cluster;
    this.#chance = new Chance(`${String(plan.seed)}/aims-struck`, cluster.clock);
    this.#commit = plan.faults.includes('commit');
    this.#overlap = plan.faults.includes('overlap');
  }

  /** A guest has just begun to run where it moved to. Nobody but that host's hypervisor knows yet. */
  atGuest({ host, uuid, what }: CopyChange): void {
    if (!this.#commit || what !== 'resumed (migrated)' || !this.#chance.hit(0.35)) return;
    const agent = this.cluster.agents.find(({ name }) => name === host);
    if (agent === undefined) return;
    // In this very moment the hypervisor is at work; what comes strikes right after it.
    this.cluster.clock.after(this.#chance.longTailed(0.5, 4), () => {
      this.#strikeCommit(agent, uuid);
    });
  }

  /** A leader has come to a point of a step: it may stand still there for longer than its lease. */
  atPoint(process: Process, life: Life, point: string): void {
    if (!this.#overlap || !(process instanceof ReplicaProcess) || process.role !== 'scheduler') return;
    if (process.life !== life || life.paused || !this.#chance.hit(0.08)) return;
    this.#standStill(process, point);
  }

  #strikeCommit(agent: AgentProcess, uuid: string): void {
    const { trace } = this.cluster;
    const kind = this.#chance.pick(['dies unheard', 'power', 'cut', 'leader', 'dies', 'leader and guest'] as const);
    trace.add('NEMESIS', `strikes the commit of guest ${uuid.slice(0, 8)} on ${agent.name}: ${kind ?? ''}`);
    switch (kind) {
      case 'dies unheard':
        this.#kill(agent);
        agent.host.crashGuest(uuid);
        return;
      case 'power':
        this.#power(agent);
        return;
      case 'cut':
        this.#cut(agent);
        return;
      case 'leader':
        this.#standStill(this.#leader(), 'the commit');
        return;
      case 'dies':
        agent.host.crashGuest(uuid);
        return;
      case 'leader and guest':
        this.#kill(this.#leader());
        agent.host.crashGuest(uuid);
        return;
      case undefined:
        return;
    }
  }

  #leader(): ReplicaProcess | undefined {
    const name = this.cluster.records.leader('scheduler');
    return this.cluster.replicas.find(({ life }) => life !== undefined && !life.dead && life.name === name);
  }

  #standStill(process: Process | undefined, where: string): void {
    const life = process?.life;
    if (life === undefined || life.dead || life.paused) return;
    this.cluster.trace.add('NEMESIS', `${life.name} stands still at ${where}`);
    life.pause();
    this.until(this.#chance.between(OVERLAP_LEAST_MS, OVERLAP_MOST_MS), () => {
      if (!life.dead) this.cluster.trace.add('NEMESIS', `${life.name} goes on`);
      life.goOn();
    });
  }

  #kill(process: Process | undefined): void {
    if (process?.alive !== true) return;
    process.end('killed');
    this.until(this.#chance.longTailed(6_000, AWAY_MOST_MS), () => {
      process.start();
    });
  }

  #power(agent: AgentProcess): void {
    if (!agent.powered) return;
    this.cluster.trace.add('NEMESIS', `${agent.name} loses its power`);
    agent.losePower();
    this.until(this.#chance.between(AWAY_LEAST_MS, AWAY_MOST_MS), () => {
      agent.gainPower();
      agent.start();
    });
  }

  #cut({ name }: AgentProcess): void {
    const { network, replicas } = this.cluster;
    const sites = new Set(replicas.map(({ site }) => site));
    for (const site of sites) {
      network.cut(name, site);
      network.cut(site, name);
    }
    this.until(this.#chance.between(AWAY_LEAST_MS, AWAY_MOST_MS), () => {
      for (const site of sites) {
        network.heal(name, site);
        network.heal(site, name);
      }
    });
  }
}
