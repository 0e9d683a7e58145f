// SPDX-License-Identifier: Apache-2.0
import type { AgentEnv, Env, Points } from '@lockstep/services/platform/env.js';
import type { GoingDown } from '@lockstep/services/platform/host/shutdown.js';
import { createSimulatedHost as createHostFigures } from '@lockstep/services/platform/host/simulated.js';
import { createSimulatedConsoles } from '@lockstep/services/platform/host/simulated-consoles.js';
import type { Hypervisor } from '@lockstep/services/platform/hypervisor/hypervisor.js';
import type { SimulatedHost } from '@lockstep/services/platform/hypervisor/simulated.js';
import type { Logger } from '@lockstep/services/platform/log/log.js';
import { linesTo } from '@lockstep/services/platform/log/lines.js';
import { createSeededRandom } from '@lockstep/services/platform/random/seeded.js';
import { storeOn } from '@lockstep/services/platform/store/assemble.js';
import { createFencer } from '@lockstep/services/fencer/fencer.js';
import { type Bmcs, devicesOf } from '@lockstep/services/platform/power/power.js';
import { createSimulatedBmc, type SimulatedBmc } from '@lockstep/services/platform/power/simulated.js';
import { createSimulatedWatchdog, type SimulatedWatchdog } from '@lockstep/services/platform/watchdog/simulated.js';
import { createNodeAgent } from '@lockstep/services/node-agent/agent.js';
import { SELF_FENCE } from '@lockstep/services/node-agent/fencing/self-fence.js';
import { createScheduler } from '@lockstep/services/scheduler/scheduler.js';
import { AgentDisk } from './agent-disk.js';
import type { Cluster } from './cluster.js';
import { Life, type Death } from './life.js';
import { AGENT_PORT } from './rpc.js';

/** What a process leaves to its kernel when it dies. */
type Remains = (death: Death) => void;

/** A process of the cluster: its present life, if it has one, and how to begin the next. */
export abstract class Process {
  life: Life | undefined;
  #lives = 0;

  constructor(
    protected readonly cluster: Cluster,
    readonly name: string,
    readonly site: string,
  ) {}

  get alive(): boolean {
    return this.life?.dead === false;
  }

  start(): void {
    if (this.alive) return;
    const { clock, chance } = this.cluster;
    this.#lives += 1;
    const { rate, wallSkewMs } = this.cluster.clockOf(this.site);
    const life = new Life(`${this.name}#${String(this.#lives)}`, this.site, clock, { rate, wallSkewMs });
    this.life = life;
    this.cluster.trace.add(life.name, 'process starts');
    let remains: Remains = () => undefined;
    life.onDeath((death) => {
      remains(death);
    });
    remains = this.begin(life, {
      ...this.env(life),
      random: createSeededRandom({ seed: `${String(chance.random.next())}/${life.name}`, clock: life.clock }),
    });
  }

  end(death: Death): void {
    if (!this.alive) return;
    this.cluster.trace.add(this.life?.name ?? this.name, death === 'killed' ? 'process is killed' : 'its host loses power');
    this.life?.end(death);
  }

  /** Ends in order, as at a restart for an upgrade; the process is gone when it has, or after a limit. */
  abstract close(): Promise<void>;

  protected abstract begin(life: Life, env: Env): Remains;

  private env(life: Life): Omit<Env, 'random'> {
    const { trace, clock } = this.cluster;
    const points: Points = (point) =>
      life.call(async () => {
        await this.cluster.reached(this, life, point);
      });
    const lines = linesTo({
      debug: false,
      nowMs: () => life.clock.nowMs(),
      write: ({ state, task, message, fields }) => {
        if (life.dead) return;
        const { error, ...rest } = fields as { error?: { message?: unknown } };
        const shown = error === undefined ? rest : { ...rest, error: error.message ?? error };
        const more = Object.keys(shown).length === 0 ? '' : ` ${JSON.stringify(shown)}`;
        trace.add(life.name, `[${state}] ${task === '' ? '' : `${task}: `}${message}${more}`);
      },
    });
    const log = withoutTicks(lines);
    const random = createSeededRandom({ seed: `${life.name}/store`, clock });
    return {
      clock: life.clock,
      store: storeOn(this.cluster.store.driver(life), { clock: life.clock, random, log: log.child('store') }),
      log,
      peers: this.cluster.rpc.peers(life),
      points,
    };
  }
}

/** Nobody reads what a service says at every tick, so it is not even put into words. */
function withoutTicks(logger: Logger): Logger {
  return {
    ...logger,
    log: (state, message, fields) => {
      if (state !== 't') logger.log(state, message, fields);
    },
    child: (subtask) => withoutTicks(logger.child(subtask)),
  };
}

const WATCHDOG_MS = SELF_FENCE.watchdogMs;
const SELF_FENCE_BY_WATCHDOG = { ...SELF_FENCE, mode: 'watchdog' } as const;

/** A host's firmware and its kernel. */
const BOOT_MS = 3_000;

/** The BMCs of all hosts, as one life of a process reaches them: over a network of their own. */
function bmcsAt(life: Life, { agents }: Cluster): Bmcs {
  return devicesOf(new Map(agents.flatMap(({ name, bmc }) => (bmc === undefined ? [] : [[name, [life.mortal(bmc)]] as const]))));
}

/** The agent of a host, with what outlives it there. */
export class AgentProcess extends Process {
  readonly disk: AgentDisk;
  /** What its guests write. */
  readonly consoles = createSimulatedConsoles();
  powered = true;
  /** Somebody keeps it off. */
  unplugged = false;
  /** Lives of its agent that began since its host has its present power. */
  readonly #onThisPower = new Set<string>();
  /** Undefined: the host has none. */
  readonly bmc: SimulatedBmc | undefined;
  /** Undefined: the host has none. Made anew with each boot. */
  #watchdog: SimulatedWatchdog | undefined;
  /** What the host's service manager is about. */
  goingDown: GoingDown = 'no';
  #stop: (() => Promise<void>) | undefined;
  #leave: (() => Promise<void>) | undefined;

  constructor(
    cluster: Cluster,
    readonly host: SimulatedHost,
  ) {
    super(cluster, host.name, host.name);
    const { clock, plan } = cluster;
    this.bmc = !plan.faults.includes('fencing')
      ? undefined
      : createSimulatedBmc({
          clock,
          name: host.name,
          guid: host.info.hostUuid,
          onPower: (state) => {
            this.#switched(state);
          },
        });
    this.#setWatchdog();
    this.disk = new AgentDisk(cluster.clock, cluster.chance, (what) => {
      cluster.violations.report('INV-4', `${host.name}: ${what}`);
    });
  }

  /** What its BMC does when the power is switched. */
  #switched(state: 'on' | 'off'): void {
    this.cluster.trace.add(this.name, `its BMC switches it ${state}`);
    if (state === 'off') {
      if (this.powered) this.losePower();
      return;
    }
    this.gainPower();
    if (!this.powered && this.bmc !== undefined) this.bmc.power = 'off';
    this.cluster.clock.after(BOOT_MS, () => {
      this.start();
    });
  }

  /** Whether a life of its agent, or what it left running, may still be there: its host has lost no power since. */
  mayLive(life: string): boolean {
    return this.#onThisPower.has(life);
  }

  #setWatchdog(): void {
    if (!this.cluster.plan.faults.includes('watchdog')) return;
    const watchdog = createSimulatedWatchdog({
      clock: this.cluster.clock,
      timeoutMs: WATCHDOG_MS,
      onExpiry: () => {
        if (this.powered && this.#watchdog === watchdog) this.#reset();
      },
    });
    this.#watchdog = watchdog;
  }

  /** Its watchdog was not fed. */
  #reset(): void {
    this.cluster.trace.add(this.name, 'its watchdog resets it');
    this.losePower();
    this.cluster.clock.after(BOOT_MS, () => {
      this.gainPower();
      this.start();
    });
  }

  get address(): string {
    return `${this.name}${AGENT_PORT}`;
  }

  losePower(): void {
    this.powered = false;
    this.#onThisPower.clear();
    if (this.bmc !== undefined) this.bmc.power = 'off';
    this.cluster.rpc.setPower(this.site, false);
    this.end('power');
    this.host.losePower();
    this.disk.losePower();
  }

  gainPower(): void {
    if (this.powered || this.unplugged) return;
    this.powered = true;
    if (this.bmc !== undefined) this.bmc.power = 'on';
    this.cluster.trace.add(this.name, 'its host boots');
    this.#setWatchdog();
    this.cluster.rpc.setPower(this.site, true);
    this.host.gainPower();
  }

  override start(): void {
    if (this.powered) super.start();
  }

  /** The host goes down in order, as its service manager does it: the agent leaves, ends, and the power goes. */
  async shutDown(kind: Exclude<GoingDown, 'no'>): Promise<void> {
    const { life } = this;
    this.cluster.trace.add(this.name, `its host goes down in order (${kind})`);
    this.goingDown = kind;
    try {
      await this.#leave?.();
      if (this.life === life) await this.close();
    } finally {
      this.goingDown = 'no';
    }
    if (this.life === life) this.losePower();
  }

  async close(): Promise<void> {
    await this.#stop?.();
  }

  protected begin(life: Life, env: Env): Remains {
    this.#onThisPower.add(life.name);
    const hypervisor = this.host.hypervisor();
    void this.#boot(life, env, hypervisor).catch((error: unknown) => {
      this.cluster.violations.report('START', `${life.name} cannot start: ${String(error)}`);
    });
    // What the kernel does with a dead process's sockets.
    return () => {
      void hypervisor.close();
      this.disk.processDied();
    };
  }

  async #boot(life: Life, env: Env, hypervisor: Hypervisor): Promise<void> {
    const { info } = this.host;
    const usedByGuestsBytes = (): bigint => this.host.guests().reduce((sum, { memoryBytes }) => sum + BigInt(memoryBytes), 0n);
    const agentEnv: AgentEnv = {
      ...env,
      hypervisor: life.mortal(this.cluster.ill(life, hypervisor)),
      host: life.mortal(createHostFigures({ totalBytes: info.memoryBytes, usedByGuestsBytes, consoles: this.consoles })),
      state: this.disk.state(life),
      shutdown: { goingDown: () => Promise.resolve(this.goingDown) },
      bmcs: bmcsAt(life, this.cluster),
      ...(this.#watchdog === undefined ? {} : { watchdog: life.mortal(this.#watchdog) }),
    };
    const agent = await createNodeAgent(
      agentEnv,
      { node: this.name, address: this.address, version: 'simulated', ...(this.#watchdog === undefined ? {} : { selfFence: SELF_FENCE_BY_WATCHDOG }) },
      {
        onFatal: (error) => {
          this.cluster.violations.report('FATAL', `${life.name}: ${error.message}`);
        },
      },
    );
    this.cluster.rpc.serve(this.address, life, agent.service);
    agent.start();
    this.#stop = () => agent.stop();
    this.#leave = () => agent.leave();
  }
}

/** A replica of the Scheduler or of the Fencer. */
export class ReplicaProcess extends Process {
  #close: (() => Promise<void>) | undefined;
  #leads: () => boolean = () => false;

  constructor(
    cluster: Cluster,
    readonly role: 'scheduler' | 'fencer',
    number: number,
  ) {
    super(cluster, `${role === 'scheduler' ? 's' : 'f'}${String(number)}`, `c${String(number)}`);
  }

  get address(): string {
    return `${this.site}:${this.role === 'scheduler' ? '7700' : '7702'}`;
  }

  /** Whether it takes itself for the leader. */
  get leads(): boolean {
    return this.alive && this.#leads();
  }

  async close(): Promise<void> {
    await this.#close?.();
  }

  protected begin(life: Life, env: Env): Remains {
    const { name } = this;
    const replica =
      this.role === 'scheduler' ? createScheduler(env, { name }) : createFencer({ ...env, bmcs: bmcsAt(life, this.cluster) }, { name });
    this.cluster.rpc.serve(this.address, life, replica.implementation);
    replica.start(this.address);
    this.#close = () => replica.close();
    this.#leads = () => replica.leader().kind === 'self';
    return () => undefined;
  }
}
