// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { MigrationState } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { TRANSITIONS } from '@lockstep/services/core/migration/transitions.js';
import { boundsText, guards, invariantOf, remove, USUAL } from './guards.js';
import { check, MODELS, type Bounds, type Outcome } from './spin.js';

/** Every state within these bounds is visited. */
const WORLDS: readonly Bounds[] = [
  USUAL,
  { ...USUAL, faults: 0, timeouts: 0, wishes: 2 },
  { ...USUAL, faults: 0, timeouts: 0, migrations: 2, duplicates: 1 },
];

/** What the code may write and the model does not: each with its reason. */
const NOT_MODELLED: Readonly<Record<string, string>> = {
  'PENDING>SHUTTING_DOWN': 'a move by shutdown',
  'SHUTTING_DOWN>STARTING': 'a move by shutdown',
  'SHUTTING_DOWN>UNCERTAIN': 'a move by shutdown',
  'SHUTTING_DOWN>FAILED': 'a move by shutdown',
  'STARTING>SUCCEEDED': 'a move by shutdown',
  'STARTING>UNCERTAIN': 'a move by shutdown',
  'STARTING>FAILED': 'a move by shutdown',
  'ABORTING>SHUTTING_DOWN': 'falling back to a move by shutdown',
  'UNCERTAIN>SHUTTING_DOWN': 'falling back to a move by shutdown',
  'UNCERTAIN>STARTING': 'a move by shutdown',
  'PENDING>ABORTED': 'a cancel of what only waits: no host knows of it',
};

/** The table allows these, and within the bounds of these worlds nothing needs them. */
const NOT_MET: readonly string[] = [
  'PREPARING>COMMITTING',
  'PREPARED>UNCERTAIN',
  'PREPARED>COMMITTING',
  'PREPARED>FAILED',
  'COMMITTING>UNCERTAIN',
  'COMMITTING>FAILED',
  'ABORTING>UNCERTAIN',
  'UNCERTAIN>TRANSFERRING',
  'UNCERTAIN>SUCCEEDED',
  'UNCERTAIN>ABORTED',
];

const nameOf = (state: number): string => Object.entries(MigrationState).find(([, value]) => value === state)?.[0] ?? '';
const allowed = Object.entries(TRANSITIONS).flatMap(([from, next]) => next.map((to) => `${nameOf(Number(from))}>${nameOf(to)}`));

describe('the model of the migration protocol', () => {
  const seen: Outcome[] = [];

  it.each(WORLDS.map((bounds) => ({ bounds, name: boundsText(bounds) })))(
    'finds nothing wrong and nothing stuck: $name',
    async ({ bounds }) => {
      const outcome = await check({ bounds });
      const { error, states, transitions, depth, seconds, steps } = outcome;
      console.log(
        `model: ${boundsText(bounds)}: ${String(states)} states, ${String(transitions)} transitions, ` +
          `depth ${String(depth)}, ${String(seconds)} s`,
      );
      expect(error === undefined ? undefined : invariantOf(error), steps.join('\n')).toBeUndefined();
      expect(outcome.complete).toBe(true);
      const figures = `| ${states.toLocaleString('en')} | ${transitions.toLocaleString('en')} |`;
      expect(readFileSync(join(MODELS, 'README.md'), 'utf8'), 'the figures of its README').toContain(figures);
      seen.push(outcome);
    },
  );

  it('writes only what the table of transitions allows, and all of it but what is named here', () => {
    const used = new Set(seen.flatMap((outcome) => [...outcome.used.keys()]));
    expect([...used].filter((one) => !allowed.includes(one))).toEqual([]);
    expect([...used].filter((one) => one in NOT_MODELLED)).toEqual([]);
    for (const one of Object.keys(NOT_MODELLED)) expect(allowed).toContain(one);
    expect(allowed.filter((one) => !used.has(one) && !(one in NOT_MODELLED)).sort()).toEqual([...NOT_MET].sort());
  });

  it('meets no facts that cannot be together', () => {
    const cells = new Set(seen.flatMap((outcome) => [...outcome.cells.keys()]));
    expect([...cells].filter((cell) => cell.startsWith('RUNNING/RUNNING') || cell.startsWith('UNTOLD/RUNNING'))).toEqual([]);
    console.log(`model: ${String(cells.size)} cells of the recovery table were used`);
  });
});

describe('the guards of the model', () => {
  it('are all in the list of what breaks without them, and nothing else is', () => {
    const listed = [...readFileSync(join(MODELS, 'README.md'), 'utf8').matchAll(/^\| ([A-Z_]+) \|/gm)].map(([, name]) => name);
    expect(listed.toSorted()).toEqual(guards().map(({ name }) => name).toSorted());
  });

  // The whole list is made by `npm run model -- --guards`; these are found in the smallest worlds.
  it.each(['FLOOR_AT_ABORT', 'SESSION_IN_WRITES'])('are needed: %s', async (name) => {
    const guard = guards().find((one) => one.name === name);
    expect(guard).toBeDefined();
    if (guard === undefined) return;
    const { found } = await remove(guard);
    expect(found?.error).toMatch(/^INV-/);
    expect(found?.steps.length).toBeGreaterThan(3);
  });
});
