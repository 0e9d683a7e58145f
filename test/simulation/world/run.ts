// SPDX-License-Identifier: Apache-2.0
import { Cluster } from './cluster.js';
import { Crowd } from './crowd.js';
import { Nemesis } from './nemesis.js';
import type { Plan } from './plan.js';
import { Reasons } from './reasons.js';
import { RestChecker } from './rest.js';
import { Upkeep } from './upkeep.js';
import type { Violation } from './violations.js';
import { Workload } from './workload.js';

/** How much time passes between two looks at the whole. */
const STRIDE_MS = 250;
const REST_EVERY_MS = 2_000;
/** Rest that does not last is none. */
const REST_LASTS_MS = 20_000;
const LAST_LINES = 80;

/** What came of one run. */
export interface RunResult {
  plan: Plan;
  violation: Violation | undefined;
  /** The last lines before the violation. */
  timeline: string[];
  steps: number;
  hash: string;
  virtualMs: number;
  /** Until everything was at rest, after the faults had stopped. */
  restMs: number | undefined;
  wishes: number;
  migrations: number;
}

export interface RunOptions {
  /** Gets every line of the trace. */
  sink?: (line: string) => void;
  /** How many lines of the timeline a failure keeps; 80 unless told. */
  lines?: number;
}

/** One run from its plan: a phase of wishes and faults, then one in which everything must come to rest. */
export async function run(plan: Plan, { sink, lines = LAST_LINES }: RunOptions = {}): Promise<RunResult> {
  const cluster = new Cluster(plan, sink);
  const { clock, violations, trace } = cluster;
  const onRejection = (error: unknown): void => {
    violations.report('UNHANDLED', error instanceof Error ? (error.stack ?? error.message) : String(error));
  };
  process.on('unhandledRejection', onRejection);
  const workload = new Workload(cluster);
  let restMs: number | undefined;
  try {
    restMs = await phases(cluster, workload);
  } catch (error) {
    violations.report('CRASH', error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    process.off('unhandledRejection', onRejection);
  }
  const violation = violations.first;
  return {
    plan,
    violation,
    timeline: violation === undefined ? [] : trace.last(lines),
    steps: trace.count,
    hash: trace.hash,
    virtualMs: clock.nowMs(),
    restMs,
    wishes: workload.counts.wishes,
    migrations: cluster.records.migrations.size,
  };
}

async function phases(cluster: Cluster, workload: Workload): Promise<number | undefined> {
  const { plan, clock, trace } = cluster;
  const nemesis = new Nemesis(cluster);
  const upkeep = new Upkeep(cluster);
  const crowd = new Crowd(cluster);
  const reasons = new Reasons(cluster);
  trace.add('RUN', `seed ${String(plan.seed)}: ${String(plan.nodes)} nodes, faults: ${plan.faults.join(' ')}`);
  cluster.start();
  await pass(cluster, 3_000);
  workload.start();
  nemesis.start();
  upkeep.start();
  crowd.start();
  reasons.start();
  await pass(cluster, plan.safetyMs);
  if (cluster.violations.first !== undefined) return undefined;
  trace.add('RUN', 'faults and wishes stop; everything must come to rest');
  workload.stop();
  nemesis.stop();
  upkeep.stop();
  crowd.stop();
  try {
    return await comeToRest(cluster, upkeep, clock.nowMs());
  } finally {
    reasons.stop();
  }
}

/** Lets time pass, or stops at the first violation. */
async function pass({ clock, violations }: Cluster, durationMs: number): Promise<void> {
  const untilMs = clock.nowMs() + durationMs;
  while (clock.nowMs() < untilMs && violations.first === undefined) {
    await clock.advance(Math.min(STRIDE_MS, untilMs - clock.nowMs()));
  }
}

async function comeToRest(cluster: Cluster, upkeep: Upkeep, fromMs: number): Promise<number | undefined> {
  const { clock, plan, violations } = cluster;
  const rest = new RestChecker(cluster);
  let sinceMs: number | undefined;
  let unrest: string[] = [];
  while (violations.first === undefined) {
    const looking = rest.unrest();
    await pass(cluster, REST_EVERY_MS);
    // What is still on its way is looked at with the next round's time.
    unrest = await looking;
    if (!upkeep.done) unrest = ['people put things right again', ...unrest];
    if (unrest.length > 0) sinceMs = undefined;
    else sinceMs ??= clock.nowMs();
    if (sinceMs !== undefined && clock.nowMs() - sinceMs >= REST_LASTS_MS) return sinceMs - fromMs;
    if (clock.nowMs() - fromMs > plan.livenessMs) {
      violations.report('INV-2', `no rest after ${String(plan.livenessMs / 60_000)} minutes without faults: ${unrest.join('; ')}`);
    }
  }
  return undefined;
}
