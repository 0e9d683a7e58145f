// SPDX-License-Identifier: Apache-2.0
import { parseDomainXml } from '../../core/domain-xml/parse.js';
import type { Clock } from '../clock/clock.js';
import { type DomainState, HypervisorError } from './hypervisor.js';
import { type GuestBehaviour, readBehaviour } from './simulated-behaviour.js';

/** What a guest's memory holds, as far as anybody can tell from outside: which boot, and how far it has come. */
export interface MemoryImage {
  /** Drawn at every cold start. */
  readonly boot: string;
  /** For how long vCPUs have run with this memory. */
  readonly ranMs: number;
}

/** Why a guest's process ended. */
export type EndReason = Extract<DomainState, { state: 'off' }>['reason'];

/** Counts a second, as the counter guest of the lab does them. */
const COUNTS_PER_SECOND = 18.2;

/** One copy of a VM on one host: its process, its memory, its vCPUs. It ends once and for all. */
export class SimulatedGuest {
  readonly uuid: string;
  readonly name: string;
  readonly memoryBytes: number;
  readonly behaviour: GuestBehaviour;
  /** Its definition as it runs. */
  xml: string;
  /** Its process is stopped (SIGSTOP): whoever needs its monitor waits. */
  frozen = false;

  readonly #clock: Clock;
  readonly #onChange: (guest: SimulatedGuest, what: string) => void;
  readonly #watchers = new Set<() => void>();
  #state: DomainState;
  #image: MemoryImage;
  #runningSinceMs: number | undefined;

  constructor(input: {
    clock: Clock;
    xml: string;
    uuid: string;
    boot: string;
    state: DomainState;
    onChange: (guest: SimulatedGuest, what: string) => void;
  }) {
    const summary = parseDomainXml(input.xml);
    this.uuid = input.uuid;
    this.name = summary.name;
    this.memoryBytes = Number(summary.memoryBytes);
    this.behaviour = readBehaviour(input.xml);
    this.xml = input.xml;
    this.#clock = input.clock;
    this.#onChange = input.onChange;
    this.#state = input.state;
    this.#image = { boot: input.boot, ranMs: 0 };
    if (runsVcpus(input.state)) this.#runningSinceMs = this.#clock.nowMs();
  }

  get state(): DomainState {
    return this.#state;
  }

  /** Its vCPUs run, or would if its process were not frozen. */
  get running(): boolean {
    return this.#runningSinceMs !== undefined;
  }

  get alive(): boolean {
    return this.#state.state !== 'off';
  }

  get workingSetBytes(): number {
    return Math.min(this.behaviour.workingSetBytes ?? this.memoryBytes / 4, this.memoryBytes);
  }

  get residentBytes(): number {
    return Math.min(this.behaviour.residentBytes ?? this.memoryBytes / 2, this.memoryBytes);
  }

  memory(): MemoryImage {
    const sinceMs = this.#runningSinceMs === undefined ? 0 : this.#clock.nowMs() - this.#runningSinceMs;
    return { boot: this.#image.boot, ranMs: this.#image.ranMs + sinceMs };
  }

  /** What a counter inside the guest shows: it moves along with the memory and starts from zero at a boot. */
  counter(): number {
    return Math.floor((this.memory().ranMs / 1000) * COUNTS_PER_SECOND);
  }

  /** Memory of another copy arrives; this one's is forgotten. */
  receive(image: MemoryImage): void {
    this.#image = image;
  }

  /** A cold start of the same process: new memory. */
  boot(boot: string): void {
    this.#image = { boot, ranMs: 0 };
    if (this.#runningSinceMs !== undefined) this.#runningSinceMs = this.#clock.nowMs();
    this.#onChange(this, 'rebooted');
  }

  become(state: Exclude<DomainState, { state: 'off' }>, what: string): void {
    if (!this.alive) return;
    const runs = runsVcpus(state) && !this.frozen;
    if (runs !== this.running) {
      this.#image = this.memory();
      this.#runningSinceMs = runs ? this.#clock.nowMs() : undefined;
    }
    this.#state = state;
    this.#onChange(this, what);
  }

  /** Stops or continues its whole process, as SIGSTOP and SIGCONT do. */
  freeze(frozen: boolean): void {
    if (!this.alive || this.frozen === frozen) return;
    this.frozen = frozen;
    this.#image = this.memory();
    this.#runningSinceMs = !frozen && runsVcpus(this.#state) ? this.#clock.nowMs() : undefined;
    this.#onChange(this, frozen ? 'frozen' : 'thawed');
    this.#wake();
  }

  end(reason: EndReason): void {
    if (!this.alive) return;
    this.#image = this.memory();
    this.#runningSinceMs = undefined;
    this.#state = { state: 'off', reason };
    this.#onChange(this, `stopped (${reason})`);
    this.#wake();
    this.#watchers.clear();
  }

  /** Calls `watcher` when its process is stopped, continued or ended; returns how to leave. */
  watch(watcher: () => void): () => void {
    this.#watchers.add(watcher);
    return () => {
      this.#watchers.delete(watcher);
    };
  }

  /** Settles once its monitor answers; fails with `gone` when it has ended instead. */
  async answers(): Promise<void> {
    while (this.alive && this.frozen) {
      await new Promise<void>((resolve) => {
        const leave = this.watch(() => {
          leave();
          resolve();
        });
      });
    }
    if (!this.alive) throw new HypervisorError('gone', `domain '${this.name}' is not running`);
  }

  #wake(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }
}

function runsVcpus(state: DomainState): boolean {
  return state.state === 'running' || state.state === 'shutting-down';
}
