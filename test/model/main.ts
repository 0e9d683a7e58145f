// SPDX-License-Identifier: Apache-2.0
import { writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { boundsText, guards, invariantOf, remove, USUAL } from './guards.js';
import { check, type Bounds, type Outcome } from './spin.js';

const USAGE = `usage: npm run model -- [--leaders N] [--migrations N] [--faults N] [--timeouts N] [--duplicates N] [--wishes N]
                        [--without GUARD] [--memory MIB] [--compress]
       npm run model -- --guards [--without GUARD]
Tries every order of events within the bounds (default: ${boundsText(USUAL)}).
--guards takes each guard away in turn and shows what breaks.
guards:
${guards().map(({ name, what, kind }) => `  ${name.padEnd(26)} ${kind === 'guard' ? '' : `${kind}: `}${what}`).join('\n')}
`;

const { values } = parseArgs({
  options: {
    leaders: { type: 'string' },
    migrations: { type: 'string' },
    faults: { type: 'string' },
    timeouts: { type: 'string' },
    duplicates: { type: 'string' },
    wishes: { type: 'string' },
    memory: { type: 'string' },
    without: { type: 'string' },
    compress: { type: 'boolean', default: false },
    guards: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

function print(text: string): void {
  writeSync(1, `${text}\n`);
}

function refuse(why: string): never {
  process.stderr.write(`${why}\n${USAGE}`);
  process.exit(2);
}

function whole(name: keyof Bounds | 'memory', least: number, most: number, otherwise: number): number {
  const text = values[name];
  if (text === undefined) return otherwise;
  const value = Number(text);
  if (Number.isInteger(value) && value >= least && value <= most) return value;
  return refuse(`--${name}: got ${text}, want a whole number from ${String(least)} to ${String(most)}`);
}

function boundsGiven(): Bounds {
  return {
    leaders: whole('leaders', 1, 3, USUAL.leaders),
    migrations: whole('migrations', 1, 2, USUAL.migrations),
    faults: whole('faults', 0, 4, USUAL.faults),
    timeouts: whole('timeouts', 0, 4, USUAL.timeouts),
    duplicates: whole('duplicates', 0, 4, USUAL.duplicates),
    wishes: whole('wishes', 0, 4, USUAL.wishes),
  };
}

function tell(bounds: Bounds, outcome: Outcome): void {
  const { error, complete, states, transitions, depth, seconds, steps } = outcome;
  for (const [index, step] of steps.entries()) print(`${String(index + 1).padStart(4)}  ${step}`);
  print(`${boundsText(bounds)}: ${String(states)} states, ${String(transitions)} transitions, depth ${String(depth)}, ${String(seconds)} s`);
  if (error !== undefined) print(`ERROR: ${invariantOf(error)}\n  ${error}`);
  else print(complete ? 'no error: every state within these bounds was visited' : 'NOT COMPLETE: memory or depth did not suffice');
}

async function showGuards(): Promise<number> {
  const chosen = guards().filter(({ name, kind }) => (values.without === undefined ? kind === 'guard' : name === values.without));
  if (chosen.length === 0) refuse(`--without: got ${String(values.without)}, want one of the guards`);
  let kept = 0;
  print('| without the guard | breaks | found after states | within |');
  print('|---|---|---|---|');
  for (const guard of chosen) {
    const { found } = await remove(guard);
    if (found === undefined) kept += 1;
    const [error, states, within] =
      found === undefined ? ['nothing found', '', 'all bounds tried'] : [found.error, String(found.states), boundsText(found.bounds)];
    print(`| ${guard.name}: ${guard.what} | ${error} | ${states} | ${within} |`);
    if (values.without !== undefined) for (const step of found?.steps ?? []) print(`  ${step}`);
  }
  print(`${String(chosen.length - kept)} of ${String(chosen.length)} found`);
  return kept === 0 ? 0 : 1;
}

async function main(): Promise<number> {
  if (values.help) {
    print(USAGE);
    return 0;
  }
  if (values.guards) return await showGuards();
  const bounds = boundsGiven();
  const without = values.without === undefined ? [] : [values.without];
  const unknown = without.find((name) => !guards().some((guard) => guard.name === name));
  if (unknown !== undefined) refuse(`--without: got ${unknown}, want one of the guards`);
  const memoryMiB = whole('memory', 256, 1_000_000, 8192);
  const outcome = await check({ bounds, without, memoryMiB, compressed: values.compress });
  tell(bounds, outcome);
  return outcome.complete ? 0 : 1;
}

process.exitCode = await main();
