// SPDX-License-Identifier: Apache-2.0
import { NodeJudgement, type FenceDrill, type NodeEvidence } from '@lockstep/sdk/v1';
import { isOfAgent, signsOf, type JudgementLimits } from '../core/judgement/facts.js';
import type { BmcCheck } from '../core/fencing/bmc-verdict.js';
import { judge, type Verdict } from '../core/judgement/judge.js';
import { isAborted, pauseUnlessAborted } from '../membership/back-off.js';
import type { Term } from '../membership/leadership.js';
import type { NodeStreams, NodeView } from '../membership/node-streams.js';
import type { Env } from '../platform/env.js';
import type { Logger } from '../platform/log/log.js';
import { blindness, factsOf, lastWordAtMs, toNodeEvidence, type FreshnessLimits, type Observer, type Sights } from './sight/evidence.js';

export interface JudgingOptions {
  env: Pick<Env, 'clock' | 'log'>;
  /** Name of this replica: the observer. */
  name: string;
  term: Term;
  streams: NodeStreams;
  /** Time between two looks at all nodes; several to a throw. */
  lookEveryMs: number;
  judgement: JudgementLimits;
  freshness: FreshnessLimits;
  /** The last checks of a node's BMC. */
  checksOf: (node: string) => readonly BmcCheck[];
  /** The last test of a node's ladder. */
  drillOf: (node: string) => FenceDrill | undefined;
  /** What was looked for besides records, sessions and streams. */
  sightsOf: (node: string) => Sights;
  /** Told after each look, with every node's verdict. */
  onLook?: (node: NodeView, verdict: Verdict, before: Verdict | undefined) => void;
}

/** Since when a node's session is gone, without this observer having been blind in between. */
interface SessionGone {
  incarnation: bigint;
  sinceMs: number;
}

/** Judges every node again and again for as long as a term lasts. */
export class Judging {
  readonly #options: JudgingOptions;
  readonly #log: Logger;
  readonly #verdicts = new Map<string, Verdict>();
  readonly #gone = new Map<string, SessionGone>();

  constructor(options: JudgingOptions) {
    this.#options = options;
    this.#log = options.env.log.child('judging');
  }

  /** Settles when the term ended. */
  async run(): Promise<void> {
    const { env, term, lookEveryMs } = this.#options;
    while (!isAborted(term.ended)) {
      this.#lookAtAll();
      await pauseUnlessAborted(env.clock, lookEveryMs, term.ended);
    }
  }

  /** Of all nodes, by name; undefined: they have not been read yet. */
  evidence(): NodeEvidence[] | undefined {
    const { streams } = this.#options;
    return streams.loaded() ? streams.nodes().map((view) => this.#shown(view)) : undefined;
  }

  evidenceOf(node: string): NodeEvidence | undefined {
    const view = this.#options.streams.node(node);
    return view === undefined ? undefined : this.#shown(view);
  }

  /** As it was found at the last look; undefined: not looked at yet. */
  verdictOf(node: string): Verdict | undefined {
    return this.#verdicts.get(node);
  }

  /** By which signs of its agent a node that is not taken for dead lives, as it is known at this moment. */
  livesBy(node: string): string[] {
    const view = this.#options.streams.node(node);
    if (view === undefined) return [];
    const { facts, verdict } = this.#judged(view, this.#observer());
    const { DEAD_UNPROVEN, DEAD_PROVEN } = NodeJudgement;
    if (verdict.judgement === DEAD_UNPROVEN || verdict.judgement === DEAD_PROVEN) return [];
    return signsOf(facts.observations.filter(isOfAgent));
  }

  /** When the agent itself was last heard by anybody. */
  lastWordAtMs(node: string): number | undefined {
    const view = this.#options.streams.node(node);
    return view === undefined ? undefined : lastWordAtMs(view, this.#options.sightsOf(node));
  }

  /** For how long the node's session has been gone for certain; undefined: it is there, or may be. */
  sessionGoneMs(node: string): number | undefined {
    const gone = this.#gone.get(node);
    return gone === undefined ? undefined : this.#options.env.clock.nowMs() - gone.sinceMs;
  }

  /** Why this observer's own sight is suspect; undefined: it is not. */
  blind(): string | undefined {
    return blindness(this.#observer());
  }

  #lookAtAll(): void {
    const { streams, onLook } = this.#options;
    if (!streams.loaded()) return;
    const views = streams.nodes();
    const known = new Set(views.map(({ name }) => name));
    for (const name of [...this.#verdicts.keys()]) {
      if (known.has(name)) continue;
      this.#verdicts.delete(name);
      this.#gone.delete(name);
    }
    const observer = this.#observer();
    for (const view of views) {
      const before = this.#verdicts.get(view.name);
      this.#noteSession(view, observer);
      const { verdict } = this.#judged(view, observer);
      this.#verdicts.set(view.name, verdict);
      this.#tell(view.name, verdict, before);
      onLook?.(view, verdict, before);
    }
  }

  #noteSession({ name, session, record: { incarnation } }: NodeView, observer: Observer): void {
    if (session !== undefined || blindness(observer) !== undefined) {
      this.#gone.delete(name);
    } else if (this.#gone.get(name)?.incarnation !== incarnation) {
      this.#gone.set(name, { incarnation, sinceMs: this.#options.env.clock.nowMs() });
    }
  }

  /** As it is judged at this moment. The looks of `run` alone are remembered. */
  #judged(view: NodeView, observer: Observer) {
    const { env, judgement, sightsOf } = this.#options;
    const facts = factsOf(view, observer, sightsOf(view.name));
    const verdict = judge(this.#verdicts.get(view.name)?.track, facts, env.clock.nowMs(), judgement);
    return { facts, verdict };
  }

  #shown(view: NodeView): NodeEvidence {
    const { env, checksOf, drillOf } = this.#options;
    const { name } = view;
    const looks = { ...this.#judged(view, this.#observer()), checks: checksOf(name), drill: drillOf(name), nowMs: env.clock.nowMs() };
    return toNodeEvidence(view, looks);
  }

  #observer(): Observer {
    const { env, name, term, streams, freshness } = this.#options;
    return {
      name,
      nowMs: env.clock.nowMs(),
      storeAnsweredAtMs: term.renewedAtMs(),
      storeTroubleAtMs: streams.storeTroubleAtMs(),
      limits: freshness,
    };
  }

  #tell(node: string, verdict: Verdict, before: Verdict | undefined): void {
    const isNews = verdict.rule !== before?.rule || verdict.throwsMissed !== before.throwsMissed;
    if (!isNews) return;
    const { judgement, detail, rule } = verdict;
    this.#log.log(STATES[judgement], `${node}: ${detail}`, { node, rule });
  }
}

const STATES = {
  [NodeJudgement.UNSPECIFIED]: 'i',
  [NodeJudgement.STARTING]: 'i',
  [NodeJudgement.ALIVE]: 'o',
  [NodeJudgement.LEAVING]: 'i',
  [NodeJudgement.SUSPECT]: 'w',
  [NodeJudgement.DEAD_UNPROVEN]: 'e',
  [NodeJudgement.DEAD_PROVEN]: 'e',
  [NodeJudgement.UNRECOGNIZED]: 'w',
} as const;
