// SPDX-License-Identifier: Apache-2.0
// What the programs of the two matrices have in common: which cells are run, in which lab, and where results are kept.
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { down, layout, up, type Lab } from '#lab';

/** Of cells by their names. */
export type Results<O> = Record<string, O>;

/** What became of a cell: it passed where there are no problems. */
export interface CellOutcome {
  problems: readonly string[];
}

export interface Matrix<C, O extends CellOutcome> {
  /** Names its files, too. */
  name: string;
  description: string;
  /** The lab that is used where LOCKSTEP_LAB names none. */
  labName: string;
  cells: readonly C[];
  /** Cells that are run only where --only names them. */
  further?: readonly C[];
  /** Before the lab is brought up. */
  prepare?: (lab: Lab) => void;
  keyOf: (cell: C) => string;
  lineOf: (cell: C, outcome: O) => string;
  tableOf: (results: Results<O>) => string;
  /** Runs cell after cell in a lab that is up, and asks before each. */
  run: (plan: { lab: Lab; env: NodeJS.ProcessEnv; cells: readonly C[]; goesOn: () => boolean }, tell: (cell: C, outcome: O) => void) => Promise<void>;
}

interface Options {
  resume: boolean;
  sample?: number;
  seed?: number;
  only?: string;
  minutes?: number;
  shard?: [number: number, of: number];
  keep: boolean;
  table: boolean;
}

const begun = performance.now();

function say(line: string): void {
  process.stderr.write(`${((performance.now() - begun) / 1000).toFixed(0).padStart(6)} s  ${line}\n`);
}

/** A matrix as a program: reads its arguments, and ends with 1 where a cell failed. */
export async function mainOf<C, O extends CellOutcome>(matrix: Matrix<C, O>): Promise<void> {
  const program = new Command(matrix.name)
    .description(matrix.description)
    .option('--resume', 'go on where an earlier run was broken off; cells that failed are run again', false)
    .option('--sample <count>', 'only that many cells, chosen by chance', whole)
    .option('--seed <number>', 'the chance of --sample', whole)
    .option('--only <text>', 'only cells whose name holds this')
    .option('--minutes <count>', 'begin no further cell after this time', whole)
    .option('--shard <part>', 'every second cell or so, such as 1/2: the rest is for another lab', shardOf)
    .option('--keep', 'leave the lab up', false)
    .option('--table', 'print the table of what was run, and run nothing', false)
    .showHelpAfterError();
  try {
    await program.parseAsync();
    process.exitCode = (await work(matrix, program.opts<Options>())) ? 0 : 1;
  } catch (error) {
    process.exitCode = 1;
    say(`failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
  }
}

/** True: no cell failed. */
async function work<C, O extends CellOutcome>(matrix: Matrix<C, O>, options: Options): Promise<boolean> {
  const lab = layout({ ...process.env, LOCKSTEP_LAB: process.env['LOCKSTEP_LAB'] ?? matrix.labName });
  const folder = join(lab.checkout, 'test/dist');
  const earlier = resultsIn<O>(folder, matrix.name);
  if (options.table) {
    print(matrix, earlier);
    return true;
  }
  if (process.getuid?.() !== 0) throw new Error(`the ${matrix.name} runs on real parts, which needs root`);
  const file = join(folder, `${matrix.name}-${lab.name}.json`);
  const env = { ...process.env, XDG_CONFIG_HOME: join(lab.stateDir, 'context') };
  const results = options.resume ? readResults<O>(file) : {};
  const done = options.resume ? earlier : {};
  const cells = chosen(matrix, options).filter((cell) => done[matrix.keyOf(cell)]?.problems.length !== 0);
  say(`${String(cells.length)} cells to run`);
  const untilMs = options.minutes === undefined ? Infinity : performance.now() + options.minutes * 60_000;
  let failed = 0;
  try {
    matrix.prepare?.(lab);
    await up(lab, { env, report: say });
    await matrix.run({ lab, env, cells, goesOn: () => performance.now() < untilMs }, (cell, outcome) => {
      results[matrix.keyOf(cell)] = outcome;
      writeResults(file, results);
      if (outcome.problems.length > 0) failed += 1;
      say(matrix.lineOf(cell, outcome));
    });
  } finally {
    if (!options.keep) await down(lab, { env });
  }
  print(matrix, results);
  return failed === 0;
}

function chosen<C, O extends CellOutcome>(
  { cells, further = [], keyOf }: Matrix<C, O>,
  { sample, seed = Date.now() % 1_000_000, only, shard: [number, of] = [1, 1] }: Options,
): C[] {
  const wanted = (only === undefined ? cells : [...cells, ...further].filter((cell) => keyOf(cell).includes(only))).filter(
    (_, index) => index % of === number - 1,
  );
  if (sample === undefined) return wanted;
  say(`${String(sample)} cells, seed ${String(seed)}`);
  return sampleOf(wanted, sample, seed);
}

function print<C, O extends CellOutcome>({ tableOf, cells, keyOf }: Matrix<C, O>, results: Results<O>): void {
  const ran = cells.map((cell) => results[keyOf(cell)]).filter((outcome) => outcome !== undefined);
  const failed = ran.filter(({ problems }) => problems.length > 0).length;
  process.stdout.write(`${tableOf(results)}\n\n${String(ran.length)} of ${String(cells.length)} cells, ${String(failed)} failed\n`);
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('It must be a whole number.');
  return value;
}

function shardOf(text: string): [number: number, of: number] {
  const [number = 0, of = 0] = text.split('/').map(Number);
  if (!(number >= 1 && number <= of)) throw new InvalidArgumentError('It must be like 1/2.');
  return [number, of];
}

/** What was run in all labs together. */
function resultsIn<O>(folder: string, name: string): Results<O> {
  const files = readdirSync(folder).filter((file) => file.startsWith(`${name}-`) && file.endsWith('.json'));
  return Object.assign({}, ...files.map((file) => readResults<O>(join(folder, file)))) as Results<O>;
}

function readResults<O>(file: string): Results<O> {
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as Results<O>) : {};
}

/** Whole or not at all: a run may be broken off at any moment. */
function writeResults<O>(file: string, results: Results<O>): void {
  mkdirSync(dirname(file), { recursive: true });
  writeFileSync(`${file}.new`, JSON.stringify(results, null, 1));
  renameSync(`${file}.new`, file);
}

/** A generator that gives the same numbers for the same seed, from 0 to 1. */
function numbersOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** That many cells, none twice: the same for the same seed. */
export function sampleOf<T>(cells: readonly T[], count: number, seed: number): T[] {
  const next = numbersOf(seed);
  return cells
    .map((cell) => ({ cell, place: next() }))
    .sort((a, b) => a.place - b.place)
    .slice(0, count)
    .map(({ cell }) => cell);
}
