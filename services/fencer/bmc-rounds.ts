// SPDX-License-Identifier: Apache-2.0
import { Fenceability, LeaderRole } from '@lockstep/sdk/v1';
import type { Finding } from '../core/fencing/bmc-check.js';
import { bmcVerdict, type BmcCheck } from '../core/fencing/bmc-verdict.js';
import { isAborted, pauseUnlessAborted } from '../membership/back-off.js';
import type { Term } from '../membership/leadership.js';
import { heardEpochOf } from '../membership/overtaken.js';
import type { NodeStreams, NodeView } from '../membership/node-streams.js';
import type { Env } from '../platform/env.js';
import type { Logger } from '../platform/log/log.js';
import { peersOf, wordsOf } from './sight/looks.js';

/** Milliseconds. */
export interface BmcRoundTimings {
  /** Between two looks at which nodes are due. */
  lookEveryMs: number;
  /** Between two rounds of checks of one node's BMC. */
  everyMs: number;
  /** Before a round that no peer could answer is repeated. */
  againMs: number;
  /** How long one check may take: longer than an agent takes for it. */
  limitMs: number;
}

export const BMC_ROUND_TIMINGS: BmcRoundTimings = {
  lookEveryMs: 1_000,
  everyMs: 300_000,
  againMs: 30_000,
  limitMs: 30_000,
};

/** Peers asked about one BMC: one of them may be cut off from the management network by itself. */
const PEERS_ASKED = 2;

export interface BmcRoundsOptions {
  env: Pick<Env, 'clock' | 'log' | 'peers'>;
  term: Term;
  streams: NodeStreams;
  timings: BmcRoundTimings;
}

interface Round {
  incarnation: bigint;
  checks: readonly BmcCheck[];
  /** When the next one is due; undefined while this one runs. */
  dueMs: number | undefined;
}

/**
 * Has every node's BMC checked for as long as a term lasts: when the node joins and every few minutes, by the node itself
 * and by two peers. What they find is kept in memory and shown; a round of one node never waits for another's.
 */
export class BmcRounds {
  readonly #rounds = new Map<string, Round>();
  readonly #log: Logger;

  constructor(private readonly options: BmcRoundsOptions) {
    this.#log = options.env.log.child('bmc');
  }

  /** Settles when the term ended. */
  async run(): Promise<void> {
    const { env, term, streams, timings } = this.options;
    while (!isAborted(term.ended)) {
      if (streams.loaded()) this.#startDue(streams.nodes());
      await pauseUnlessAborted(env.clock, timings.lookEveryMs, term.ended);
    }
  }

  /** The last checks of a node's BMC. */
  checksOf(node: string): readonly BmcCheck[] {
    return this.#rounds.get(node)?.checks ?? [];
  }

  #startDue(views: readonly NodeView[]): void {
    const names = new Set(views.map(({ name }) => name));
    for (const name of [...this.#rounds.keys()]) if (!names.has(name)) this.#rounds.delete(name);
    const nowMs = this.options.env.clock.nowMs();
    for (const view of views) {
      const before = this.#rounds.get(view.name);
      const { incarnation } = view.record;
      const hasJoined = before !== undefined && before.incarnation !== incarnation;
      if (before !== undefined && before.dueMs === undefined) continue;
      if (before?.dueMs !== undefined && nowMs < before.dueMs && !hasJoined) continue;
      const round: Round = { incarnation, checks: before?.checks ?? [], dueMs: undefined };
      this.#rounds.set(view.name, round);
      void this.#work(view, views, round);
    }
  }

  async #work(view: NodeView, views: readonly NodeView[], round: Round): Promise<void> {
    const { env, timings } = this.options;
    const asked = [...(view.connected ? [view] : []), ...peersOf(view.name, views, PEERS_ASKED, env.clock.nowMs())];
    const checks = await Promise.all(asked.map((observer) => this.#ask(observer, view.name)));
    const before = bmcVerdict(view.name, round.checks);
    round.checks = checks;
    const peersTold = checks.some(
      ({ observer, fenceability }) => observer !== view.name && fenceability !== Fenceability.UNKNOWN,
    );
    round.dueMs = env.clock.nowMs() + (peersTold ? timings.everyMs : timings.againMs);
    this.#tell(view.name, before, bmcVerdict(view.name, checks));
  }

  /** Not to be answered says nothing about the BMC. */
  async #ask(observer: NodeView, node: string): Promise<BmcCheck> {
    const { env, term, timings } = this.options;
    const { address, incarnation } = observer.record;
    const header = { leaderRole: LeaderRole.FENCER, leaderEpoch: term.leaderEpoch, incarnation };
    let finding: Finding;
    try {
      const call = { signal: term.ended, deadlineMs: timings.limitMs };
      finding = await env.peers.agent(address).checkBmc({ header, node }, call);
    } catch (error) {
      const heard = heardEpochOf('fencer', error);
      if (heard !== undefined) term.overtaken(heard);
      const why = wordsOf(error);
      finding = { fenceability: Fenceability.UNKNOWN, detail: `it could not be asked: ${why}` };
    }
    const { fenceability, detail } = finding;
    return { observer: observer.name, fenceability, detail, atMs: env.clock.nowMs() };
  }

  #tell(node: string, before: Finding, now: Finding): void {
    if (this.options.term.ended.aborted) return;
    if (before.fenceability === now.fenceability && before.detail === now.detail) return;
    const { fenceability, detail } = now;
    if (fenceability === Fenceability.FENCEABLE) this.#log.ok(`${node}: fencing would work`, { node, detail });
    else if (fenceability === Fenceability.NOT_FENCEABLE) this.#log.warn(`${node}: fencing would fail: ${detail}`, { node });
    else this.#log.warn(`${node}: whether fencing would work is not known: ${detail}`, { node });
  }
}
