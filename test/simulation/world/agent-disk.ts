// SPDX-License-Identifier: Apache-2.0
import type { VirtualClock } from '@lockstep/services/platform/clock/virtual.js';
import type { DurableState } from '@lockstep/services/platform/state/state.js';
import type { Chance } from './chance.js';
import type { Life } from './life.js';

/** What an agent's document says, as far as its promises go: neither epochs nor floors ever fall. */
interface Remembered {
  leaderEpochs: Record<string, string>;
  vms: Record<string, { floor: string; outgoing?: unknown; armed?: { closed: boolean } }>;
}

/** Where an agent keeps its memory. A write takes time; one that was under way at a crash is there or not. */
export class AgentDisk {
  #saved: string | undefined;
  #remembered: Remembered | undefined;
  #writing: string | undefined;
  #boots = 1;
  /** Written without fsync: the kernel has them, the disk perhaps. */
  #marks = new Map<string, string>();

  constructor(
    private readonly clock: VirtualClock,
    private readonly chance: Chance,
    private readonly broken: (what: string) => void,
  ) {}

  /** As one life of the agent reaches it. */
  state(life: Life): DurableState {
    return life.mortal<DurableState>({
      load: () => Promise.resolve(this.#saved),
      save: async (document) => {
        this.#writing = document;
        await new Promise<void>((resolve) => {
          this.clock.after(this.chance.longTailed(2, 50), resolve);
        });
        if (life.dead) return;
        this.#keep(document);
        this.#writing = undefined;
      },
      mark: (name, value) => {
        this.#marks.set(name, value);
        return Promise.resolve();
      },
      readMark: (name) => Promise.resolve(this.#marks.get(name)),
      clearMark: (name) => {
        this.#marks.delete(name);
        return Promise.resolve();
      },
      bootId: () => Promise.resolve(`boot-${String(this.#boots)}`),
    });
  }

  /** The process died: a write under way may have gone through. */
  processDied(): void {
    if (this.#writing !== undefined && this.chance.hit(0.5)) this.#keep(this.#writing);
    this.#writing = undefined;
  }

  losePower(): void {
    this.processDied();
    this.#boots += 1;
    for (const name of [...this.#marks.keys()]) if (this.chance.hit(0.5)) this.#marks.delete(name);
  }

  get remembered(): Remembered | undefined {
    return this.#remembered;
  }

  #keep(document: string): void {
    const before = this.#remembered;
    const now = JSON.parse(document) as Remembered;
    this.#saved = document;
    this.#remembered = now;
    if (before === undefined) return;
    for (const [role, epoch] of Object.entries(before.leaderEpochs)) {
      const next = now.leaderEpochs[role] ?? '0';
      if (BigInt(next) < BigInt(epoch)) this.broken(`its epoch of the ${role} fell from ${epoch} to ${next}`);
    }
    for (const [vmId, { floor }] of Object.entries(before.vms)) {
      const next = now.vms[vmId]?.floor ?? '0';
      if (BigInt(next) < BigInt(floor)) this.broken(`its floor of VM ${vmId.slice(0, 8)} fell from ${floor} to ${next}`);
    }
  }
}
