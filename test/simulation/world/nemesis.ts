// SPDX-License-Identifier: Apache-2.0
import type { SimulatedGuest } from '@lockstep/services/platform/hypervisor/simulated.js';
import { Aims } from './aims.js';
import { Chance } from './chance.js';
import type { Cluster } from './cluster.js';
import type { Life } from './life.js';
import { AgentProcess, type Process } from './machine.js';
import { HEALTHY } from './network.js';
import type { Fault } from './plan.js';
import { SOUND, STORE } from './store-link.js';

const DONE_BY_OTHERS: readonly Fault[] = ['upkeep', 'shutdown', 'watchdog', 'by-hand', 'few-tries', 'crowd'];

const RESUME_AGAIN_MS = 5_000;
const MOST_RESUMES = 60;

const PEOPLE_LOOK_MS = 20_000;

/** Undoes a fault. */
type Mend = () => void;

/** Brings misfortune over a cluster, as the plan's faults allow, and takes it all away again at the end. */
export class Nemesis {
  readonly #chance: Chance;
  readonly #faults: ReadonlySet<Fault>;
  readonly #mends = new Set<Mend>();
  /** How often each host's BMC was broken. */
  readonly #brokenBmcs = new Map<string, number>();
  #over = false;

  constructor(private readonly cluster: Cluster) {
    this.#chance = new Chance(`${String(cluster.plan.seed)}/nemesis`, cluster.clock);
    this.#faults = new Set(cluster.plan.faults);
  }

  start(): void {
    const { cluster } = this;
    const ill = (fault: Fault, value: number): number => (this.#faults.has(fault) ? value : 0);
    const chance = this.#chance;
    cluster.network.illness = {
      slow: ill('slow', chance.between(0.01, 0.2)),
      slowMs: chance.between(200, 6_000),
      broken: ill('broken', chance.between(0.005, 0.05)),
      doubled: ill('doubled', chance.between(0.05, 0.5)),
    };
    cluster.store.illness = {
      down: false,
      unknown: ill('store-unknown', chance.between(0.01, 0.15)),
      stale: ill('store-stale', chance.between(0.05, 0.4)),
      early: ill('store-stale', chance.between(0.05, 0.4)),
    };
    cluster.hypervisorIllness = ill('hypervisor', chance.between(0.002, 0.05));
    const atPoints = ill('points', chance.between(0.01, 0.15));
    const aims = new Aims(cluster, (durationMs, mend) => {
      this.#for(durationMs, mend);
    });
    cluster.onPoint = (process, life, point) => {
      if (this.#over) return;
      if (chance.hit(atPoints)) this.#strikeAtPoint(process, life, point);
      aims.atPoint(process, life, point);
    };
    cluster.onGuest = (change) => {
      if (!this.#over) aims.atGuest(change);
    };
    this.#next();
  }

  /** From here on everything works again, and every process that was killed has started. */
  stop(): void {
    const { cluster } = this;
    this.#over = true;
    cluster.onPoint = () => undefined;
    cluster.onGuest = () => undefined;
    cluster.network.illness = HEALTHY;
    cluster.store.illness = SOUND;
    cluster.hypervisorIllness = 0;
    for (const mend of [...this.#mends]) mend();
    cluster.network.healAll();
    this.#keepPowered();
    for (const { host } of cluster.agents) {
      host.startDaemon();
      host.continueDaemon();
    }
    for (const process of cluster.processes) {
      process.life?.goOn();
      process.start();
    }
  }

  /** What was decided before may still switch a host off: people switch it on again. */
  #keepPowered(): void {
    const { agents, clock } = this.cluster;
    for (const agent of agents.filter(({ powered }) => !powered)) {
      agent.gainPower();
      agent.start();
    }
    clock.after(PEOPLE_LOOK_MS, () => {
      this.#keepPowered();
    });
  }

  #next(): void {
    this.cluster.clock.after(this.#chance.longTailed(this.cluster.plan.strikeMs, 120_000), () => {
      if (this.#over) return;
      this.#strike();
      this.#next();
    });
  }

  #strike(): void {
    const fault = this.#chance.pick([...this.#faults].filter((each) => !DONE_BY_OTHERS.includes(each)));
    const { cluster } = this;
    switch (fault) {
      case 'crash':
        this.#kill(this.#chance.pick(cluster.processes));
        return;
      case 'pause':
        this.#pause(this.#chance.pick(cluster.processes));
        return;
      case 'restart':
        this.#close(this.#chance.pick(cluster.processes));
        return;
      case 'partition':
        this.#partition();
        return;
      case 'store-down':
        this.#storeDown();
        return;
      case 'session':
        void cluster.store.endSession(this.#chance.pick(cluster.sites) ?? '').then((ended) => {
          if (ended) cluster.trace.add('NEMESIS', 'a session was ended');
        });
        return;
      case 'daemon':
        this.#daemon(this.#chance.pick(cluster.agents));
        return;
      case 'link':
        this.#cutLink();
        return;
      case 'guest':
        this.#crashGuest(this.#chance.pick(cluster.agents));
        return;
      case 'power':
        this.#losePower(this.#chance.pick(cluster.agents));
        return;
      case 'bmc':
        this.#breakBmc(this.#chance.pick(cluster.agents));
        return;
      case 'disk-full':
        this.#fillDisk(this.#chance.pick(cluster.agents));
        return;
      case 'user-pause':
        this.#pauseGuest(this.#chance.pick(cluster.agents));
        return;
      case 'clock':
        cluster.setWallSkew(this.#chance.pick(cluster.sites) ?? '', this.#chance.between(-1, 1) * 86_400_000);
        return;
      case 'points':
      case 'slow':
      case 'broken':
      case 'doubled':
      case 'store-unknown':
      case 'store-stale':
      case 'hypervisor':
      case 'commit':
      case 'overlap':
      case 'repeat':
      case 'fencing':
      case 'tight':
      case 'upkeep':
      case 'shutdown':
      case 'watchdog':
      case 'by-hand':
      case 'few-tries':
      case 'crowd':
      case undefined:
        return;
    }
  }

  /** Lasts for a while, or until everything is mended. */
  #for(durationMs: number, mend: Mend): void {
    const once = (): void => {
      if (this.#mends.delete(once)) mend();
    };
    this.#mends.add(once);
    this.cluster.clock.after(durationMs, once);
  }

  #strikeAtPoint(process: Process, life: Life, point: string): void {
    if (process.life !== life) return;
    this.cluster.trace.add('NEMESIS', `strikes ${life.name} at ${point}`);
    if (this.#chance.hit(0.6)) this.#kill(process);
    else if (this.#chance.hit(0.7) || !(process instanceof AgentProcess)) this.#pause(process);
    else this.#daemon(process);
  }

  #kill(process: Process | undefined): void {
    if (process?.alive !== true) return;
    process.end('killed');
    this.#for(this.#chance.longTailed(6_000, 90_000), () => {
      process.start();
    });
  }

  #pause(process: Process | undefined): void {
    const life = process?.life;
    if (life === undefined || life.dead || life.paused) return;
    this.cluster.trace.add('NEMESIS', `${life.name} stands still`);
    life.pause();
    this.#for(this.#chance.longTailed(12_000, 90_000), () => {
      if (!life.dead) this.cluster.trace.add('NEMESIS', `${life.name} goes on`);
      life.goOn();
    });
  }

  /** An orderly end, and a kill where it takes too long, as systemd does it. */
  #close(process: Process | undefined): void {
    if (process?.alive !== true) return;
    const { life } = process;
    this.cluster.trace.add('NEMESIS', `${life?.name ?? ''} is closed`);
    const again = (): void => {
      if (process.life === life) process.end('killed');
      process.start();
    };
    process.close().then(
      () => {
        if (process.life === life) process.end('killed');
      },
      (error: unknown) => {
        this.cluster.violations.report('CLOSE', `${life?.name ?? ''} does not close in order: ${String(error)}`);
      },
    );
    this.#for(this.#chance.between(3_000, 20_000), again);
  }

  #partition(): void {
    const { sites } = this.cluster;
    const one = this.#chance.pick(sites);
    const other = this.#chance.pick(sites);
    if (one === undefined || other === undefined) return;
    const bothWays = this.#chance.hit(0.6);
    const others = this.#chance.hit(0.4) ? sites.filter((site) => site !== one && (site !== STORE || this.#chance.hit(0.5))) : [other];
    this.#cut(one, others, bothWays, this.#chance.longTailed(15_000, 120_000));
  }

  #cut(one: string, others: readonly string[], bothWays: boolean, durationMs: number): void {
    const { network, trace } = this.cluster;
    trace.add('NEMESIS', `cuts ${one} ${bothWays ? 'from' : 'on its way to'} ${others.join(', ')}`);
    for (const each of others) {
      network.cut(one, each);
      if (bothWays) network.cut(each, one);
    }
    this.#for(durationMs, () => {
      trace.add('NEMESIS', `heals ${one} and ${others.join(', ')}`);
      for (const each of others) {
        network.heal(one, each);
        network.heal(each, one);
      }
    });
  }

  #storeDown(): void {
    const { store, trace } = this.cluster;
    trace.add('NEMESIS', 'the store has no leader');
    store.illness = { ...store.illness, down: true };
    this.#for(this.#chance.longTailed(8_000, 60_000), () => {
      trace.add('NEMESIS', 'the store has a leader again');
      store.illness = { ...store.illness, down: false };
    });
  }

  #daemon(agent: AgentProcess | undefined): void {
    if (agent?.powered !== true) return;
    const { host, name } = agent;
    const kills = this.#chance.hit(0.5);
    this.cluster.trace.add('NEMESIS', `the hypervisor of ${name} ${kills ? 'is killed' : 'hangs'}`);
    if (kills) host.killDaemon();
    else host.hangDaemon();
    this.#for(this.#chance.longTailed(6_000, 60_000), () => {
      if (!agent.powered) return;
      this.cluster.trace.add('NEMESIS', `the hypervisor of ${name} works again`);
      if (kills) host.startDaemon();
      else host.continueDaemon();
    });
  }

  #breakBmc(agent: AgentProcess | undefined): void {
    const { bmc, name } = agent ?? {};
    const mode = this.#chance.pick(['dead', 'hung', 'wrong-password', 'accepts-only'] as const) ?? 'dead';
    if (bmc === undefined || name === undefined) return;
    this.cluster.trace.add('NEMESIS', `the BMC of ${name} is ${mode}`);
    bmc.mode = mode;
    const breaks = (this.#brokenBmcs.get(name) ?? 0) + 1;
    this.#brokenBmcs.set(name, breaks);
    // Who is silent, and lives, for long enough to be taken for dead: chance alone hardly meets a broken BMC with a silent host.
    const cutMs = this.#chance.hit(0.6) ? this.#chance.between(60_000, 180_000) : undefined;
    this.#for(cutMs ?? this.#chance.longTailed(30_000, 300_000), () => {
      // One that broke again meanwhile is mended by whoever is called for that.
      if (this.#brokenBmcs.get(name) === breaks) bmc.mode = 'up';
    });
    if (cutMs !== undefined) this.#cut(name, this.cluster.sites.filter((site) => site !== name), true, cutMs);
  }

  #fillDisk(agent: AgentProcess | undefined): void {
    if (agent === undefined) return;
    this.cluster.trace.add('NEMESIS', `the disk of ${agent.name} is full`);
    agent.host.setDiskFull(true);
    this.#for(this.#chance.longTailed(20_000, 120_000), () => {
      this.cluster.trace.add('NEMESIS', `the disk of ${agent.name} has room again`);
      agent.host.setDiskFull(false);
    });
  }

  /** Its user's pause; he goes on with it, wherever it is by then. */
  #pauseGuest(agent: AgentProcess | undefined): void {
    const { trace } = this.cluster;
    const uuid = this.#chance.pick(agent?.host.guests().filter(({ state }) => state.state === 'running') ?? [])?.uuid;
    if (agent === undefined || uuid === undefined) return;
    trace.add('NEMESIS', `the user of guest ${uuid.slice(0, 8)} pauses it on ${agent.name}`);
    agent.host.pauseGuest(uuid);
    this.#for(this.#chance.longTailed(15_000, 60_000), () => {
      this.#resumeGuest(uuid);
    });
  }

  /**
   * While it is on its way nobody can let it go on, and one that is let go on in the middle of its move arrives as it
   * stood when that began: so he looks at it for a while.
   */
  #resumeGuest(uuid: string, looks = 0): void {
    const { agents, clock, trace } = this.cluster;
    const there = agents.find(({ host }) => isPausedByUser(host.guest(uuid)?.state));
    if (there !== undefined) {
      trace.add('NEMESIS', `the user of guest ${uuid.slice(0, 8)} lets it go on on ${there.name}`);
      there.host.resumeGuest(uuid);
    }
    if (looks === MOST_RESUMES) return;
    clock.after(RESUME_AGAIN_MS, () => {
      this.#resumeGuest(uuid, looks + 1);
    });
  }

  #cutLink(): void {
    const one = this.#chance.pick(this.cluster.agents)?.name ?? '';
    const other = this.#chance.pick(this.cluster.agents)?.name ?? '';
    if (one === other) return;
    this.cluster.trace.add('NEMESIS', `cuts the memory link between ${one} and ${other}`);
    this.cluster.memoryLinks.cut(one, other);
    this.#for(this.#chance.longTailed(20_000, 200_000), () => {
      this.cluster.memoryLinks.heal(one, other);
    });
  }

  #crashGuest(agent: AgentProcess | undefined): void {
    const guest = this.#chance.pick(agent?.host.guests() ?? []);
    if (agent === undefined || guest === undefined) return;
    this.cluster.trace.add('NEMESIS', `guest ${guest.uuid.slice(0, 8)} on ${agent.name} dies`);
    agent.host.crashGuest(guest.uuid);
  }

  /** The host comes back, but the agent's process only with it. */
  #losePower(agent: AgentProcess | undefined): void {
    if (agent?.powered !== true) return;
    this.cluster.trace.add('NEMESIS', `${agent.name} loses its power`);
    agent.losePower();
    this.#for(this.#chance.between(10_000, 90_000), () => {
      agent.gainPower();
      this.#for(this.#chance.between(100, 5_000), () => {
        agent.start();
      });
    });
  }
}

function isPausedByUser(state: SimulatedGuest['state'] | undefined): boolean {
  return state?.state === 'paused' && state.reason === 'user';
}
