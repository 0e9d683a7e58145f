// SPDX-License-Identifier: Apache-2.0
import { milliseconds } from '../../core/duration.js';
import { leaderCodec } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import type { Term } from '../../membership/leadership.js';
import type { NodeStreams } from '../../membership/node-streams.js';
import type { Env } from '../../platform/env.js';
import { lookEverySecond, missedSign, wordsOf } from './looks.js';

/** How old an answer gets before it is asked for again: where somebody is silent, and where all is well. */
const URGENT_MS = 1_500;
const CALM_MS = 10_000;
const LIMIT_MS = 3_000;

/** What others say of the nodes: the store's membership, and the Scheduler's own streams. */
export interface Heard<T> {
  /** By node; undefined: nobody could be asked yet. */
  nodes: ReadonlyMap<string, T> | undefined;
  /** Who says so. */
  by: string;
  answeredAtMs: number;
  /** Why the last try to ask failed; empty where it did not. */
  trouble: string;
}

export class Hearsay {
  /** Whether the membership of the store counts a machine among the living. */
  members: Heard<boolean> = { nodes: undefined, by: 'the store', answeredAtMs: 0, trouble: 'not asked yet' };
  /** When the Scheduler last heard an agent, by this process's clock. */
  scheduler: Heard<number> = { nodes: undefined, by: 'the scheduler', answeredAtMs: 0, trouble: 'not asked yet' };
  readonly #asking = { members: false, scheduler: false };
  readonly #askedAtMs = { members: Number.NEGATIVE_INFINITY, scheduler: Number.NEGATIVE_INFINITY };

  constructor(
    private readonly options: { env: Pick<Env, 'clock' | 'store' | 'peers'>; term: Term; streams: NodeStreams },
  ) {}

  /** Settles when the term ended. */
  run(): Promise<void> {
    const { env, term, streams } = this.options;
    return lookEverySecond({ clock: env.clock, term, streams }, (views, nowMs) => {
      const isUrgent = views.some((view) => missedSign(view, nowMs));
      const isDue = (what: 'members' | 'scheduler'): boolean =>
        !this.#asking[what] && nowMs - this.#askedAtMs[what] >= (isUrgent ? URGENT_MS : CALM_MS);
      if (isDue('members')) void this.#ask('members', () => this.#askMembers());
      // The Scheduler's word is of use only where this observer's own streams are silent.
      if (isUrgent && isDue('scheduler')) void this.#ask('scheduler', () => this.#askScheduler());
    });
  }

  async #ask(what: 'members' | 'scheduler', work: () => Promise<void>): Promise<void> {
    this.#asking[what] = true;
    this.#askedAtMs[what] = this.options.env.clock.nowMs();
    try {
      await work();
    } catch (error) {
      const trouble = wordsOf(error);
      if (what === 'members') this.members = { ...this.members, trouble };
      else this.scheduler = { ...this.scheduler, trouble };
    } finally {
      this.#asking[what] = false;
    }
  }

  async #askMembers(): Promise<void> {
    const { env, term } = this.options;
    const askedAtMs = env.clock.nowMs();
    const members = await env.store.members({ deadlineMs: LIMIT_MS, signal: term.ended });
    const nodes = new Map(members.map(({ name, alive }) => [name, alive]));
    this.members = { ...this.members, nodes, answeredAtMs: askedAtMs, trouble: '' };
  }

  async #askScheduler(): Promise<void> {
    const { env, term } = this.options;
    const entry = await env.store.get(keys.leader('scheduler'), { deadlineMs: LIMIT_MS, signal: term.ended });
    if (entry?.session === undefined) throw new Error('nobody leads the Scheduler');
    const { name, address } = leaderCodec.decode(entry.value, entry.index);
    const call = { deadlineMs: LIMIT_MS, signal: term.ended };
    const { nodes } = await env.peers.scheduler(address).listNodes({}, call);
    const answeredAtMs = env.clock.nowMs();
    const heard = nodes.flatMap((node): [string, number][] => {
      const ageMs = milliseconds(node.heartbeatAge, Number.NaN);
      return Number.isNaN(ageMs) ? [] : [[node.name, answeredAtMs - ageMs]];
    });
    this.scheduler = { nodes: new Map(heard), by: `the scheduler ${name}`, answeredAtMs, trouble: '' };
  }
}
