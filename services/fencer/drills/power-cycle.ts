// SPDX-License-Identifier: Apache-2.0
import type { FenceAttempt, FenceDrill } from '@lockstep/sdk/v1';
import { ATTEMPTS } from '../../core/fencing/ladder.js';
import { isAborted, pauseUnlessAborted } from '../../membership/back-off.js';
import type { PowerDevice, PowerState } from '../../platform/power/power.js';
import type { FencerLeading } from '../leading.js';
import { wordsOf } from '../sight/looks.js';
import { checkOwner, nameOf, readOwnPower } from '../sight/power-reads.js';
import type { DrillJournal } from './journal.js';
import { refuseUnlessEmpty } from './preconditions.js';

/** How long an agent may be heard after its host's power went: messages on their way, and no more. */
const FALLS_SILENT_MS = 2_000;
const LISTEN_MS = 6_000;

/** What a power cycle of all of a node's devices came to. */
export interface Cycled {
  /** Why it failed; empty: it worked. */
  failure: string;
  /** Why no device of it is to be believed that says off; empty: nothing speaks against them. */
  lie: string;
}

/** Powers an empty node off and on by each of its devices; every step is written down before it is done. */
export class PowerCycle {
  constructor(
    private readonly leading: FencerLeading,
    private readonly journal: DrillJournal,
    private readonly node: string,
  ) {}

  async run(): Promise<Cycled> {
    const { env } = this.leading;
    await env.points('drill/begun');
    const failures: string[] = [];
    let lie = '';
    for (const device of env.bmcs.devices(this.node)) {
      const strange = await this.#step(ATTEMPTS.readPower, device, () => this.#isOwn(device));
      if (strange !== '') return { failure: strange, lie: '' };
      await refuseUnlessEmpty(this.leading, this.node);
      const off = await this.#step(ATTEMPTS.powerOff, device, () => this.#switchOff(device));
      await env.points('drill/power-off/done');
      const silent = off === '' ? await this.#step(ATTEMPTS.silence, device, () => this.#fellSilent()) : '';
      await env.points('drill/silent');
      if (silent !== '') lie = `${nameOf(device)}: ${silent}`;
      const back = await this.#bringBack(device);
      failures.push(...[off, silent, back].filter((each) => each !== '').map((each) => `${nameOf(device)}: ${each}`));
      if (failures.length > 0) break;
    }
    return { failure: failures.join('; '), lie };
  }

  /** What a leader that died has left: nothing of it is judged, but the node must not stay off. */
  async finish({ attempts }: FenceDrill): Promise<string> {
    const [device] = this.leading.env.bmcs.devices(this.node);
    const mayBeOff = attempts.some(({ rung }: FenceAttempt) => rung === ATTEMPTS.powerOff);
    if (!mayBeOff || device === undefined) return '';
    return await this.#bringBack(device);
  }

  /** On again, whatever came of off, and by any device that does it. */
  async #bringBack(first: PowerDevice): Promise<string> {
    const { env } = this.leading;
    const offAtMs = env.clock.nowMs();
    const life = this.leading.streams.node(this.node)?.record.incarnation;
    const on = await this.#step(ATTEMPTS.powerOn, first, () => this.#switchOn(first));
    await env.points('drill/power-on/done');
    const up = await this.#step(ATTEMPTS.comeBack, undefined, () => this.#comesBack(life, offAtMs));
    return [on, up].filter((each) => each !== '').join('; ');
  }

  async #isOwn(device: PowerDevice): Promise<string> {
    await checkOwner(device, this.#hostUuid(), this.#call());
    return "it is the node's own";
  }

  async #switchOff(device: PowerDevice): Promise<string> {
    await this.leading.env.points('drill/power-off/noted');
    await device.powerOff(this.#call());
    return await this.#until(device, 'off', this.leading.settings.timings.readBackMs);
  }

  async #fellSilent(): Promise<string> {
    const { env, judging, term } = this.leading;
    const offAtMs = env.clock.nowMs();
    await pauseUnlessAborted(env.clock, LISTEN_MS, term.ended);
    const spokeAtMs = judging.lastWordAtMs(this.node) ?? 0;
    if (spokeAtMs > offAtMs + FALLS_SILENT_MS) throw new Error('it reads off, and its agent speaks on: its host is not off');
    return 'its agent fell silent';
  }

  async #switchOn(first: PowerDevice): Promise<string> {
    const { env, settings, term } = this.leading;
    const { bootMs, readBackMs, readEveryMs } = settings.timings;
    const all = [first, ...env.bmcs.devices(this.node).filter((device) => device !== first)];
    const untilMs = env.clock.nowMs() + bootMs;
    for (;;) {
      const troubles: string[] = [];
      for (const device of all) {
        try {
          await device.powerOn(this.#call());
          return await this.#until(device, 'on', readBackMs);
        } catch (error) {
          troubles.push(`${nameOf(device)}: ${wordsOf(error)}`);
        }
      }
      if (isAborted(term.ended) || env.clock.nowMs() >= untilMs) throw new Error(`it could not be switched on: ${troubles.join('; ')}`);
      await pauseUnlessAborted(env.clock, readEveryMs, term.ended);
    }
  }

  /** Heard, or joined, since it was to be on. */
  async #comesBack(life: bigint | undefined, sinceMs: number): Promise<string> {
    const { env, judging, settings, streams, term } = this.leading;
    const { bootMs, readEveryMs } = settings.timings;
    const untilMs = env.clock.nowMs() + bootMs;
    while (env.clock.nowMs() < untilMs && !isAborted(term.ended)) {
      if (streams.node(this.node)?.record.incarnation !== life) return 'it joined again';
      if ((judging.lastWordAtMs(this.node) ?? 0) > sinceMs) return 'its agent is heard';
      await pauseUnlessAborted(env.clock, readEveryMs, term.ended);
    }
    throw new Error(`it was switched on and has not come back within ${String(bootMs / 1_000)} s`);
  }

  async #until(device: PowerDevice, wanted: PowerState, limitMs: number): Promise<string> {
    const { env, settings, term } = this.leading;
    const untilMs = env.clock.nowMs() + limitMs;
    for (;;) {
      const state = await readOwnPower(device, this.#hostUuid(), this.#call());
      if (state === wanted) return `it reads ${wanted}`;
      if (env.clock.nowMs() >= untilMs || isAborted(term.ended)) throw new Error(`it still reads ${state}`);
      await pauseUnlessAborted(env.clock, settings.timings.readEveryMs, term.ended);
    }
  }

  /** Why it failed; empty: it works. Rejects only where it could not be written down, or the term ended. */
  async #step(rung: string, device: PowerDevice | undefined, work: () => Promise<string>): Promise<string> {
    const ended = await this.journal.step(this.node, rung, device === undefined ? '' : nameOf(device));
    let works = true;
    let detail: string;
    try {
      detail = await work();
    } catch (error) {
      works = false;
      detail = wordsOf(error);
    }
    // What a term's end has broken off says nothing: the next leader brings the node back.
    this.leading.term.ended.throwIfAborted();
    await ended(works, detail);
    return works ? '' : detail;
  }

  #hostUuid(): string {
    return this.leading.streams.node(this.node)?.record.hostUuid ?? '';
  }

  #call(): { deadlineMs: number; signal: AbortSignal } {
    return { deadlineMs: this.leading.settings.timings.deviceCallMs, signal: this.leading.term.ended };
  }
}
