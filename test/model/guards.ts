// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { check, MODELS, type Bounds } from './spin.js';

/** A guard of the protocol as guards.pml declares it. */
export interface Guard {
  name: string;
  what: string;
  /** `second lock`: not shown to be needed. Guards alone have to be missed. */
  kind: 'guard' | 'second lock';
}

const DECLARED = /^#define (\w+) 1 \/\* (?:(second lock): )?(.*) \*\/$/gm;

export function guards(): Guard[] {
  const text = readFileSync(join(MODELS, 'guards.pml'), 'utf8');
  return [...text.matchAll(DECLARED)].map(([, name = '', kind, what = '']) => ({
    name,
    what,
    kind: kind === 'second lock' ? kind : 'guard',
  }));
}

/** What is tried with every test: one fault, one false time-out, two leaders. */
export const USUAL: Bounds = { leaders: 2, migrations: 1, faults: 1, timeouts: 1, duplicates: 0, wishes: 0 };

const STILL: Bounds = { ...USUAL, faults: 0, timeouts: 0 };
const ONE_TIMEOUT: Bounds = { ...STILL, timeouts: 1 };
const ONE_FAULT: Bounds = { ...STILL, faults: 1 };

/** The smallest world in which each guard is known to be missed; of all others it is that with one false time-out. */
const MISSED_IN: Readonly<Record<string, Bounds>> = {
  CLOSED_AT_SOURCE: { ...STILL, duplicates: 1 },
  COMMIT_FLAG: { ...STILL, wishes: 1 },
  DURABLE_MEMORY: USUAL,
  FINISHING_MARK: ONE_FAULT,
  FLOORED_COPY_TAKEN_OVER: { ...ONE_TIMEOUT, wishes: 1 },
  FLOOR_AT_START: ONE_FAULT,
  HIGHER_EPOCH_CLOSES: { ...ONE_TIMEOUT, wishes: 1 },
  INCARNATION_IN_ORDERS: ONE_FAULT,
  LATE_GIVE_UP_REFUSED: { ...USUAL, migrations: 2 },
  NO_START_WHILE_OPEN: ONE_FAULT,
  ONE_GUEST_PER_MIGRATION: { ...ONE_FAULT, duplicates: 1 },
  OWN_NOTE_AT_RESUME: { ...STILL, migrations: 2, duplicates: 1 },
  READ_BACK: { ...ONE_TIMEOUT, wishes: 1 },
  RUNNING_IS_NOT_ABORTED: { ...ONE_TIMEOUT, wishes: 1 },
  RUNNING_IS_NOT_GIVEN_UP: USUAL,
};

/** Larger worlds, for what is not found where it was known. */
const LADDER: readonly Bounds[] = [
  ONE_TIMEOUT,
  ONE_FAULT,
  { ...ONE_TIMEOUT, wishes: 1 },
  { ...STILL, migrations: 2, duplicates: 1 },
  { ...ONE_TIMEOUT, migrations: 2 },
  { ...ONE_FAULT, duplicates: 1 },
  USUAL,
];

export interface Removal {
  guard: Guard;
  /** Undefined: nothing was found within any of the bounds. */
  found: { error: string; bounds: Bounds; states: number; steps: string[] } | undefined;
}

/** Takes one guard away and looks for what breaks, where it is known to, else in ever larger worlds. */
export async function remove(guard: Guard): Promise<Removal> {
  const known = guard.kind === 'second lock' ? undefined : (MISSED_IN[guard.name] ?? ONE_TIMEOUT);
  const worlds = known === undefined ? LADDER : [known, ...LADDER.filter((bounds) => bounds !== known)];
  for (const bounds of worlds) {
    const { error, states, steps } = await check({ bounds, without: [guard.name] });
    if (error !== undefined) return { guard, found: { error: invariantOf(error), bounds, states, steps } };
  }
  return { guard, found: undefined };
}

/** Assertions come back as C expressions; each belongs to one invariant. */
export function invariantOf(error: string): string {
  const kinds: [string, string][] = [
    ['stale', 'INV-8: older memory runs'],
    ['epoch>floor', 'INV-2: a restart under an epoch that was given up'],
    ['floor', 'INV-3: a restart without proof'],
    ['<=1)', 'INV-1: two copies run'],
    ['invalid end state', 'INV-5: something is stuck'],
    ['next_state', 'INV-5: the journal takes a step that it does not know'],
    ['at_rest', 'INV-5: a leader does not come to rest'],
    ['outgoing', 'INV-5: a note is left over'],
    ['finish_runs', 'INV-5: a Finish is left over'],
    ['(node==', 'INV-5: a copy is left over'],
    ['stopped', 'INV-2: it does not run where it shall'],
    ['domain[h]', 'INV-2: a guest that runs is destroyed'],
    ['g==current', 'INV-2: an order of a migration that is over ends something'],
    ['interrupted', 'a cancel that was granted is passed over'],
    ['violated 0', 'INV-1: facts that cannot be together'],
  ];
  return kinds.find(([part]) => error.includes(part))?.[1] ?? error;
}

export function boundsText({ leaders, migrations, faults, timeouts, duplicates, wishes }: Bounds): string {
  const some = [
    [leaders, 'leader', 'leaders'],
    [migrations, 'migration', 'migrations'],
    [faults, 'fault', 'faults'],
    [timeouts, 'time-out', 'time-outs'],
    [duplicates, 'duplicate', 'duplicates'],
    [wishes, 'wish', 'wishes'],
  ] as const;
  return some
    .filter(([count]) => count > 0)
    .map(([count, one, many]) => `${String(count)} ${count === 1 ? one : many}`)
    .join(', ');
}
