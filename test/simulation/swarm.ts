// SPDX-License-Identifier: Apache-2.0
import { expect } from 'vitest';
import { planOf } from './world/plan.js';
import { run, type RunResult } from './world/run.js';

/** A failure as a person wants to read it. */
export function told({ plan, violation, timeline }: RunResult): string {
  if (violation === undefined) return '';
  const { invariant, detail } = violation;
  return `${timeline.slice(-30).join('\n')}\n${invariant}: ${detail}\nagain: npm run sim -- --seed ${String(plan.seed)} --shrink`;
}

/** Runs every seed of a range and fails with the first story that breaks a promise. */
export async function expectSound(from: number, count: number): Promise<RunResult[]> {
  const results: RunResult[] = [];
  for (let seed = from; seed < from + count; seed++) {
    const result = await run(planOf(seed));
    expect(told(result)).toBe('');
    results.push(result);
  }
  return results;
}
