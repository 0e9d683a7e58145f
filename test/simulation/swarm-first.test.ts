// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { expectSound } from './swarm.js';

it('keeps every promise with the seeds 1 to 50', async () => {
  const results = await expectSound(1, 50);
  // A swarm that does nothing finds nothing.
  expect(results.reduce((sum, { migrations }) => sum + migrations, 0)).toBeGreaterThan(100);
  expect(new Set(results.flatMap(({ plan }) => plan.faults)).size).toBeGreaterThan(15);
});
