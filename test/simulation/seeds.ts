// SPDX-License-Identifier: Apache-2.0
import { shrink } from './shrink.js';
import { planOf, type PlanOptions } from './world/plan.js';
import { run, type RunOptions, type RunResult } from './world/run.js';
import type { Violation } from './world/violations.js';

/** What is told of a seed that broke a promise. */
export interface Failure {
  seed: number;
  violation: Violation;
  faults: readonly string[];
  nodes: number;
  vms: number;
  minutes: number;
  hash: string;
}

/** What a seed came to, in words that can pass from one process to another. */
export interface SeedReport {
  seed: number;
  hash: string;
  virtualMs: number;
  steps: number;
  migrations: number;
  wishes: number;
  /** 0: it never came to rest. */
  restMs: number;
  failure?: Failure;
  /** For people: the last lines, what was broken, and the command that replays it. */
  story?: string;
}

/** Runs a seed, and a failing one again with less as long as `toShrink` says so. */
export async function runSeed(seed: number, given: PlanOptions, { toShrink, ...options }: RunOptions & { toShrink: boolean }): Promise<SeedReport> {
  const whole = await run(planOf(seed, given), options);
  const { hash, virtualMs, steps, migrations, wishes, restMs = 0 } = whole;
  const report = { seed, hash, virtualMs, steps, migrations, wishes, restMs };
  if (whole.violation === undefined) return report;
  const shown = toShrink ? await shrink(whole, given) : { result: whole, options: given };
  return { ...report, ...failureOf(shown.result, shown.options) };
}

function failureOf(result: RunResult, given: PlanOptions): { failure?: Failure; story?: string } {
  const { plan, violation, timeline, hash } = result;
  if (violation === undefined) return {};
  const { seed, faults, nodes, schedulers, vms, safetyMs } = plan;
  const { invariant, detail, step, atMs } = violation;
  const story = [
    ...timeline,
    `\nseed ${String(seed)}, step ${String(step)}, ${(atMs / 1000).toFixed(1)} s: ${invariant}: ${detail}`,
    `faults: ${faults.join(', ')}; ${String(nodes)} nodes, ${String(schedulers)} schedulers, ${String(vms)} VMs`,
    `again:  ${replay(seed, given)}`,
  ].join('\n');
  return { failure: { seed, violation, faults, nodes, vms, minutes: safetyMs / 60_000, hash }, story };
}

/** The command that does exactly this run again. */
function replay(seed: number, given: PlanOptions): string {
  const words = [`npm run sim -- --seed ${String(seed)}`];
  if (given.nodes !== undefined) words.push(`--nodes ${String(given.nodes)}`);
  if (given.vms !== undefined) words.push(`--vms ${String(given.vms)}`);
  if (given.schedulers !== undefined) words.push(`--schedulers ${String(given.schedulers)}`);
  if (given.safetyMs !== undefined) words.push(`--minutes ${String(given.safetyMs / 60_000)}`);
  if (given.faults !== undefined) words.push(`--faults ${given.faults.length === 0 ? 'none' : given.faults.join(',')}`);
  return words.join(' ');
}
