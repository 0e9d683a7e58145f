// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { Command, InvalidArgumentError } from 'commander';
import { down, layout, up } from '#lab';
import { sampleOf } from '../kill-matrix/cells.js';
import { allCells, DEATHS, keyOf, type Cell } from './cells.js';
import { countOf, lineOf, readResults, tableOf, writeResults, type Results } from './results.js';
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
  keep: boolean;
  table: boolean;
}

function chosen({ sample, seed = Date.now() % 1_000_000, only }: Options): Cell[] {
  const control = DEATHS.map((death) => ({ mode: 'up', death }) as const).filter(() => only !== undefined);
  const cells = [...allCells(), ...control].filter((cell) => only === undefined || keyOf(cell).includes(only));
  if (sample === undefined) return cells;
  say(`${String(sample)} cells, seed ${String(seed)}`);
  return sampleOf(cells, sample, seed);
}

function print(results: Results): void {
  const { ran, failed, all } = countOf(results);
  process.stdout.write(`${tableOf(results)}\n\n${String(ran)} of ${String(all)} cells, ${String(failed)} failed\n`);
}

async function main(options: Options): Promise<number> {
  const lab = layout({ ...process.env, LOCKSTEP_LAB: process.env['LOCKSTEP_LAB'] ?? 'lsf32' });
  const file = join(lab.checkout, `test/dist/fence-matrix-${lab.name}.json`);
  const env = { ...process.env, XDG_CONFIG_HOME: join(lab.stateDir, 'context') };
  if (options.table) {
    print(readResults(file));
    return 0;
  }
  if (process.getuid?.() !== 0) throw new Error('the fence matrix runs on real parts, which needs root');
  const results: Results = options.resume ? readResults(file) : {};
  const cells = chosen(options).filter((cell) => results[keyOf(cell)]?.problems.length !== 0);
  say(`${String(cells.length)} cells to run`);
  const untilMs = options.minutes === undefined ? Infinity : performance.now() + options.minutes * 60_000;
  let failed = 0;
  try {
    await up(lab, { env, report: say });
    await runCells({ lab, env, cells, goesOn: () => performance.now() < untilMs }, (cell, outcome) => {
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

const program = new Command('fence-matrix')
  .description("Lets a host die in each way with its BMC failing in each way, on real parts. Needs root.")
  .option('--resume', 'go on where an earlier run was broken off; cells that failed are run again', false)
  .option('--sample <count>', 'only that many cells, chosen by chance', whole)
  .option('--seed <number>', 'the chance of --sample', whole)
  .option('--only <text>', 'only cells whose name holds this, such as "lies-off", "× cut" or "up × crash"')
  .option('--minutes <count>', 'begin no further cell after this time', whole)
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
