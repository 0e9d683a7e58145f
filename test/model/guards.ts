// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { check, MODELS, type Bounds } from './spin.js';

/** A guard of the protocol as guards.pml declares it. */
export interface Guard {
  name: string;
  what: string;
}

export function guards(): Guard[] {
  const text = readFileSync(join(MODELS, 'guards.pml'), 'utf8');
  return [...text.matchAll(/^#define (\w+) 1 \/\* (.*) \*\/$/gm)].map(([, name = '', what = '']) => ({ name, what }));
}

/** What is tried with every test: one fault, one false time-out, two leaders. */
export const USUAL: Bounds = { leaders: 2, migrations: 1, faults: 1, timeouts: 1, duplicates: 0, wishes: 0 };

/** Small worlds first: an error that is there is found in the smallest one that has it. */
export const LADDER: readonly Bounds[] = [
  { ...USUAL, faults: 0 },
  { ...USUAL, timeouts: 0 },
  USUAL,
  { ...USUAL, faults: 0, wishes: 1 },
  { ...USUAL, faults: 0, duplicates: 1 },
  { ...USUAL, migrations: 2, faults: 0 },
  { ...USUAL, migrations: 2, faults: 0, duplicates: 1 },
  { ...USUAL, migrations: 2, timeouts: 0 },
  { ...USUAL, migrations: 2 },
  { ...USUAL, faults: 2 },
];

export interface Removal {
  guard: Guard;
  /** Undefined: nothing was found within any of the bounds. */
  found: { error: string; bounds: Bounds; states: number; steps: string[] } | undefined;
}

/** Takes one guard away and looks for what breaks, in ever larger worlds. */
export async function remove(guard: Guard, ladder: readonly Bounds[] = LADDER): Promise<Removal> {
  for (const bounds of ladder) {
    const { error, states, steps } = await check({ bounds, without: [guard.name] });
    if (error !== undefined) return { guard, found: { error: invariantOf(error), bounds, states, steps } };
  }
  return { guard, found: undefined };
}

/** Assertions come back as C expressions; each belongs to one invariant. */
export function invariantOf(error: string): string {
  const kinds: [string, string][] = [
    ['stale', 'INV-8: older memory runs'],
    ['floor', 'INV-3: a restart without proof'],
    ['<=1)', 'INV-1: two copies run'],
    ['invalid end state', 'INV-5: something is stuck'],
    ['next_state', 'INV-5: the journal takes a step that it does not know'],
    ['at_rest', 'INV-5: a leader does not come to rest'],
    ['outgoing', 'INV-5: a note is left over'],
    ['finish_runs', 'INV-5: a Finish is left over'],
    ['(node==', 'INV-5: a copy is left over'],
    ['stopped', 'INV-2: it does not run where it shall'],
    ['copy[', 'a copy that runs was destroyed'],
    ['violated 0', 'INV-1: facts that cannot be together'],
  ];
  return kinds.find(([part]) => error.includes(part))?.[1] ?? error;
}

export function boundsText({ leaders, migrations, faults, timeouts, duplicates, wishes }: Bounds): string {
  const some = [
    [leaders, 'leaders'],
    [migrations, 'migrations'],
    [faults, 'faults'],
    [timeouts, 'time-outs'],
    [duplicates, 'duplicates'],
    [wishes, 'wishes'],
  ] as const;
  return some.filter(([count]) => count > 0).map(([count, what]) => `${String(count)} ${what}`).join(', ');
}
