// SPDX-License-Identifier: Apache-2.0
import { NodeJudgement, type NodeEvidence } from '@lockstep/sdk/v1';
import type { JudgementLimits } from '../core/judgement/facts.js';
import type { BmcCheck } from '../core/fencing/bmc-verdict.js';
import { judge, type Verdict } from '../core/judgement/judge.js';
import { isAborted, pauseUnlessAborted } from '../membership/back-off.js';
import type { Term } from '../membership/leadership.js';
import type { NodeStreams, NodeView } from '../membership/node-streams.js';
import type { Env } from '../platform/env.js';
import type { Logger } from '../platform/log/log.js';
import { factsOf, toNodeEvidence, type FreshnessLimits, type Observer } from './evidence.js';

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
}

/** Judges every node again and again for as long as a term lasts. What it finds is shown; nothing is done about it. */
export class Judging {
  readonly #options: JudgingOptions;
  readonly #log: Logger;
  readonly #verdicts = new Map<string, Verdict>();

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

  #lookAtAll(): void {
    const { streams, judgement, env } = this.#options;
    if (!streams.loaded()) return;
    const views = streams.nodes();
    const known = new Set(views.map(({ name }) => name));
    for (const name of [...this.#verdicts.keys()]) {
      if (!known.has(name)) this.#verdicts.delete(name);
    }
    const observer = this.#observer();
    for (const view of views) {
      const before = this.#verdicts.get(view.name);
      const verdict = judge(before?.track, factsOf(view, observer), env.clock.nowMs(), judgement);
      this.#verdicts.set(view.name, verdict);
      this.#tell(view.name, verdict, before);
    }
  }

  /** As it is judged at this moment. The looks of `run` alone are remembered. */
  #shown(view: NodeView): NodeEvidence {
    const { env, judgement, checksOf } = this.#options;
    const nowMs = env.clock.nowMs();
    const facts = factsOf(view, this.#observer());
    const verdict = judge(this.#verdicts.get(view.name)?.track, facts, nowMs, judgement);
    return toNodeEvidence(view, { facts, verdict, checks: checksOf(view.name), nowMs });
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
