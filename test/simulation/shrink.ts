// SPDX-License-Identifier: Apache-2.0
import { planOf, type PlanOptions } from './world/plan.js';
import { run, type RunResult } from './world/run.js';

/** Fewer faults, fewer hosts, fewer VMs, less time, as long as the same promise is broken. */
export async function shrink(failed: RunResult, given: PlanOptions): Promise<{ result: RunResult; options: PlanOptions }> {
  let best = { result: failed, options: given };
  const tries = async (change: PlanOptions): Promise<boolean> => {
    const options = { ...best.options, ...change };
    const result = await run(planOf(failed.plan.seed, options));
    if (result.violation?.invariant !== failed.violation?.invariant) return false;
    best = { result, options };
    return true;
  };
  for (const fault of failed.plan.faults) {
    await tries({ faults: best.result.plan.faults.filter((other) => other !== fault) });
  }
  for (let nodes = 2; nodes < best.result.plan.nodes; nodes++) if (await tries({ nodes })) break;
  for (let vms = 1; vms < best.result.plan.vms; vms++) if (await tries({ vms })) break;
  const { violation } = best.result;
  if (violation !== undefined) await tries({ safetyMs: Math.max(1_000, violation.atMs) });
  return best;
}
