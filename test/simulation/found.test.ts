// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import { fileURLToPath } from 'node:url';
import { bite } from './bite.js';
import { FOUND } from './found.js';
import { told } from './swarm.js';
import { planOf } from './world/plan.js';
import { run } from './world/run.js';

const MAIN = fileURLToPath(new URL('../dist/simulation/main.js', import.meta.url));

/** The first seed of the present swarm that finds a mistake again that was mended, once its cure is taken out. */
const AGAIN = { 'in-nobodys-hands': 6, 'read-internal': 9, 'lost-connection': 14 } as const satisfies Partial<Record<keyof typeof FOUND, number>>;

/** One that shows at once; the others keep a cluster from its rest for 20 virtual minutes: `--bite --found --from SEED`. */
it('a mistake that was mended is found again without its cure', async () => {
  const lines: string[] = [];
  const missed = await bite(['read-internal'], { seeds: 1, from: AGAIN['read-internal'] }, (line) => lines.push(line), MAIN);
  expect(missed, lines.join('\n')).toBe(0);
});

it.each(Object.values(AGAIN))('seed %i finds nothing now', async (seed) => {
  expect(told(await run(planOf(seed)))).toBe('');
});

it.each(Object.entries(FOUND))('there is still a place for: %s', (_name, { undo: { file, find } }) => {
  expect(readFileSync(new URL(`../../services/dist/${file}`, import.meta.url), 'utf8')).toContain(find);
});
