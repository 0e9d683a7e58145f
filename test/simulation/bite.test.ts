// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';
import { bite } from './bite.js';
import { MISTAKES } from './mistakes.js';

const MAIN = fileURLToPath(new URL('../dist/simulation/main.js', import.meta.url));

/** Found by the first few seeds; the whole table takes longer and is made by `npm run sim -- --bite`. */
const QUICK = ['commits without Finish', 'leaves the VM locked at the end'];

it.each(QUICK)('finds a planted mistake: %s', async (mistake) => {
  const lines: string[] = [];
  const missed = await bite([mistake], { seeds: 10 }, (line) => lines.push(line), MAIN);
  expect(missed, lines.join('\n')).toBe(0);
});

it.each(Object.entries(MISTAKES))('still has a place for: %s', (_name, mistake) => {
  for (const { file, find } of [mistake].flat()) {
    expect(readFileSync(new URL(`../../services/dist/${file}`, import.meta.url), 'utf8')).toContain(find);
  }
});
