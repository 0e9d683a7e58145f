// SPDX-License-Identifier: Apache-2.0
import { expect, it } from 'vitest';
import { told } from './swarm.js';
import { planOf } from './world/plan.js';
import { run } from './world/run.js';

/** Seeds that found mistakes in the services, with what was wrong then. */
const FOUND: [seed: number, mistake: string][] = [
  [1, 'a store that did not answer a read was INTERNAL to the caller'],
  [6, 'a cancel that waited for its turn changed a migration that had ended meanwhile'],
  [9, 'a host that came back kept the definition of a VM that had gone on elsewhere, and moved just then'],
  [14, 'Abort(source) insisted on a connection that a restarted hypervisor had lost'],
  [22, 'an opening write with an unknown outcome left a migration that nobody had in hand'],
  [63, 'a closing write with an unknown outcome was repeated, and changed the closed record'],
  [135, 'a node had given a placement up, and the record named it for ever'],
  [3025, 'a move by shutdown noted what it waits for in a closed record; two moves asked for at once were promised one room'],
  [4082, 'a move by shutdown was refused after it had been opened, and the VM stayed locked'],
  [200040, 'a wish that a connection delivered late took back a later one: what was stopped ran on'],
  [60093, 'a call to the embedded hypervisor that was given up before it was sent failed for nobody to hear'],
];

it.each(FOUND)('seed %i: %s, and is no more', async (seed) => {
  expect(told(await run(planOf(seed)))).toBe('');
});
