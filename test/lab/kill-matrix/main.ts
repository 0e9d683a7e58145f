// SPDX-License-Identifier: Apache-2.0
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { down, layout, up } from '#lab';
import { allCells, keyOf, ROWS, sampleOf, type Cell } from './cells.js';
import { lineOf, readResults, tableOf, writeResults, type Results } from './results.js';
import { runCells } from './run.js';

const begun = performance.now();

function say(line: string): void {
  process.stderr.write(`${((performance.now() - begun) / 1000).toFixed(0).padStart(6)} s  ${line}\n`);
}

function whole(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 0) throw new InvalidArgumentError('It must be a whole number.');
  return value;
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

function shardOf(text: string): [number: number, of: number] {
  const [number = 0, of = 0] = text.split('/').map(Number);
  if (!(number >= 1 && number <= of)) throw new InvalidArgumentError('It must be like 1/2.');
  return [number, of];
}

function chosen({ sample, seed = Date.now() % 1_000_000, only, shard: [number, of] = [1, 1] }: Options): Cell[] {
  const cells = allCells(ROWS)
    .filter((_, index) => index % of === number - 1)
    .filter((cell) => only === undefined || keyOf(cell).includes(only));
  if (sample === undefined) return cells;
  say(`${sample} cells, seed ${seed}`);
  return sampleOf(cells, sample, seed);
}

function print(results: Results): void {
  const all = Object.values(results);
  const failed = all.filter(({ problems }) => problems.length > 0).length;
  process.stdout.write(`${tableOf(results)}\n\n${all.length} cells, ${failed} failed\n`);
}

/** What was run in all labs together. */
function allResults(folder: string): Results {
  const files = readdirSync(folder).filter((name) => /^kill-matrix-.*\.json$/.test(name));
  return Object.assign({}, ...files.map((name) => readResults(join(folder, name)))) as Results;
}

async function main(options: Options): Promise<number> {
  const lab = layout({ ...process.env, LOCKSTEP_LAB: process.env['LOCKSTEP_LAB'] ?? 'lsk31' });
  const folder = join(lab.checkout, 'test/dist');
  const file = join(folder, `kill-matrix-${lab.name}.json`);
  const env = { ...process.env, XDG_CONFIG_HOME: join(lab.stateDir, 'context') };
  if (options.table) {
    print(allResults(folder));
    return 0;
  }
  if (process.getuid?.() !== 0) throw new Error('the kill matrix runs on real parts, which needs root');
  const results: Results = options.resume ? readResults(file) : {};
  const done = options.resume ? allResults(folder) : {};
  const cells = chosen(options).filter((cell) => done[keyOf(cell)]?.problems.length !== 0);
  say(`${cells.length} cells to run`);
  const untilMs = options.minutes === undefined ? Infinity : performance.now() + options.minutes * 60_000;
  let failed = 0;
  try {
    await up(lab, { env, report: say });
    const logs = join(lab.checkout, 'test/dist/kill-matrix-logs');
    await runCells({ lab, env, cells, logs, goesOn: () => performance.now() < untilMs }, (cell, outcome) => {
      results[keyOf(cell)] = outcome;
      writeResults(file, results);
      if (outcome.problems.length > 0) failed += 1;
      say(lineOf(cell, outcome));
    });
  } finally {
    if (!options.keep) await down(lab, { env });
  }
  print(results);
  return failed === 0 ? 0 : 1;
}

const program = new Command('kill-matrix')
  .description('Breaks each part of the cluster at each place of a migration, on real parts. Needs root.')
  .option('--resume', 'go on where an earlier run was broken off; cells that failed are run again', false)
  .option('--sample <count>', 'only that many cells, chosen by chance', whole)
  .option('--seed <number>', 'the chance of --sample', whole)
  .option('--only <text>', 'only cells whose name holds this, such as "source link"')
  .option('--minutes <count>', 'begin no further cell after this time', whole)
  .option('--shard <part>', 'every second cell or so, such as 1/2: the rest is for another lab', shardOf)
  .option('--keep', 'leave the lab up', false)
  .option('--table', 'print the table of what was run, and run nothing', false)
  .showHelpAfterError();

try {
  await program.parseAsync();
  process.exitCode = await main(program.opts<Options>());
} catch (error) {
  process.exitCode = 1;
  say(`failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`);
}
