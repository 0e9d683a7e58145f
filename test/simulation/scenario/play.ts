// SPDX-License-Identifier: Apache-2.0
import { act } from './steps.js';
import type { Outcome } from './compare.js';
import type { Recovery, Scenario } from './format.js';
import { Stage } from './stage.js';

const STRIDE_MS = 500;

/** What came of playing a scenario, and which of its steps the cluster refused. */
export interface Played {
  outcome: Outcome;
  /** Every time a VM got another node, for whatever reason. */
  moves: readonly Recovery[];
  refused: string[];
}

/** Plays a scenario in a cluster of its own, with the services' own code. */
export async function play(scenario: Scenario, sink?: (line: string) => void): Promise<Played> {
  const stage = new Stage(scenario, sink);
  const { cluster } = stage;
  const { clock, trace, violations } = cluster;
  const refused: string[] = [];
  const onRejection = (error: unknown): void => {
    violations.report('UNHANDLED', error instanceof Error ? (error.stack ?? error.message) : String(error));
  };
  process.on('unhandledRejection', onRejection);
  try {
    await stage.setUp();
    const zeroMs = clock.nowMs();
    for (const step of scenario.timeline) {
      clock.after(step.at * 1_000, () => {
        trace.add('STAGE', JSON.stringify(step));
        act(stage, step).catch((error: unknown) => {
          refused.push(`${step.do} at ${String(step.at)} s: ${error instanceof Error ? error.message : String(error)}`);
        });
      });
    }
    const endMs = zeroMs + scenario.end * 1_000;
    while (clock.nowMs() < endMs && violations.first === undefined) await clock.advance(STRIDE_MS);
    const outcome: Outcome = {
      name: scenario.name,
      fenced: [...stage.fenced].sort(),
      final: violations.first === undefined ? await stage.final() : {},
      recoveries: stage.recoveries,
      violations: violations.found.map(({ invariant, detail }) => `${invariant}: ${detail}`),
    };
    return { outcome, moves: stage.moves, refused };
  } finally {
    process.off('unhandledRejection', onRejection);
  }
}
