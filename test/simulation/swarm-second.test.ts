// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { expectSound } from './swarm.js';
import { planOf } from './world/plan.js';
import { run } from './world/run.js';

it('keeps every promise with the seeds 51 to 100', async () => {
  await expectSound(51, 50);
});

it('goes the same way again with the same seed, line by line', async () => {
  const tell = async (): Promise<string[]> => {
    const lines: string[] = [];
    await run(planOf(17), { sink: (line) => lines.push(line) });
    return lines;
  };
  const [once, again] = [await tell(), await tell()];
  expect(again).toEqual(once);
  expect(once.length).toBeGreaterThan(200);
});
