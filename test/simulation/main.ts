// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { bite } from './bite.js';
import { coverage } from './coverage.js';
import { FOUND } from './found.js';
import { cpuSecondsNow, runJobs, work } from './jobs.js';
import { MISTAKES } from './mistakes.js';
import { plant, type Mutation } from './mutate.js';
import { compareNodes } from './other-node.js';
import type { SeedReport } from './seeds.js';
import { Summary } from './summary.js';
import { ALL_FAULTS, type Fault, FAULTS, type PlanOptions } from './world/plan.js';

const USAGE = `usage: npm run sim -- [--seed N | --seeds COUNT [--from N] [--jobs COUNT]] [--minutes M] [--nodes COUNT] [--vms COUNT]
                      [--schedulers COUNT] [--faults LIST] [--shrink] [--trace] [--json] [--stop] [--mutate FILE | --mistake NAME]
       npm run sim -- --bite [--found] [--mistake NAME] [--seeds COUNT] [--from N] [--cpu-minutes M]
       npm run sim -- --scenario FILE [--json] [--trace] | --scenario DIR [--report]
       npm run sim -- --tell FILE
       npm run sim -- --memory [--rounds COUNT] [--mistake NAME]
       npm run sim -- --coverage [--trace] [--seeds COUNT] | --same-on 22 [--seeds COUNT] [--from N]
faults:
${Object.entries(FAULTS).map(([name, what]) => `  ${name.padEnd(14)} ${what}`).join('\n')}
`;

const { values } = parseArgs({
  options: {
    seed: { type: 'string' },
    seeds: { type: 'string' },
    from: { type: 'string' },
    minutes: { type: 'string' },
    nodes: { type: 'string' },
    vms: { type: 'string' },
    schedulers: { type: 'string' },
    faults: { type: 'string' },
    lines: { type: 'string' },
    /** How many processes share the seeds. */
    jobs: { type: 'string' },
    /** This process is one of them, and is told by the first which seeds to run. */
    worker: { type: 'boolean', default: false },
    'cpu-minutes': { type: 'string' },
    shrink: { type: 'boolean', default: false },
    trace: { type: 'boolean', default: false },
    stop: { type: 'boolean', default: false },
    mutate: { type: 'string' },
    mistake: { type: 'string' },
    bite: { type: 'boolean', default: false },
    found: { type: 'boolean', default: false },
    scenario: { type: 'string' },
    report: { type: 'boolean', default: false },
    tell: { type: 'string' },
    coverage: { type: 'boolean', default: false },
    memory: { type: 'boolean', default: false },
    rounds: { type: 'string' },
    'same-on': { type: 'string' },
    json: { type: 'boolean', default: false },
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

function whole(name: 'seed' | 'seeds' | 'from' | 'nodes' | 'vms' | 'schedulers' | 'lines' | 'rounds' | 'jobs', least: number): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const value = Number(text);
  return Number.isInteger(value) && value >= least ? value : refuse(`--${name}: got ${text}, want a whole number from ${String(least)}`);
}

function faults(): readonly Fault[] | undefined {
  const { faults: text } = values;
  if (text === undefined) return undefined;
  const names = text.split(',').filter((name) => name !== '' && name !== 'none');
  const unknown = names.find((name) => !Object.hasOwn(FAULTS, name));
  if (unknown !== undefined) refuse(`--faults: got ${unknown}, want some of ${ALL_FAULTS.join(',')}`);
  return ALL_FAULTS.filter((fault) => names.includes(fault));
}

function planOptions(): PlanOptions {
  const [nodes, vms, schedulers, chosen] = [whole('nodes', 1), whole('vms', 1), whole('schedulers', 1), faults()];
  const minutes = values.minutes === undefined ? undefined : Number(values.minutes);
  if (minutes !== undefined && !(minutes > 0)) refuse(`--minutes: got ${String(values.minutes)}, want a number above 0`);
  return {
    ...(nodes === undefined ? {} : { nodes }),
    ...(vms === undefined ? {} : { vms }),
    ...(schedulers === undefined ? {} : { schedulers }),
    ...(chosen === undefined ? {} : { faults: chosen }),
    ...(minutes === undefined ? {} : { safetyMs: minutes * 60_000 }),
  };
}

function cpuBound(): { cpuMinutes?: number } {
  const { 'cpu-minutes': text } = values;
  if (text === undefined) return {};
  const cpuMinutes = Number(text);
  return cpuMinutes > 0 ? { cpuMinutes } : refuse(`--cpu-minutes: got ${text}, want a number above 0`);
}

/** Ours, and those that were mended once. */
const ALL_MISTAKES: Readonly<Record<string, Mutation | readonly Mutation[]>> = {
  ...MISTAKES,
  ...Object.fromEntries(Object.entries(FOUND).map(([name, { undo }]) => [name, undo])),
};

/** Mistakes to plant before any service is loaded: one of ours, or a reviewer's own file of the same shape. */
function mutations(): readonly Mutation[] {
  const { mistake, mutate } = values;
  const known = mistake === undefined ? undefined : ALL_MISTAKES[mistake];
  if (mistake !== undefined && known === undefined) {
    refuse(`--mistake: got ${mistake}, want one of\n${Object.keys(ALL_MISTAKES).map((name) => `  ${name}`).join('\n')}`);
  }
  const own = mutate === undefined ? [] : (JSON.parse(readFileSync(mutate, 'utf8')) as Mutation | Mutation[]);
  return [own, known ?? []].flat(2);
}

async function main(): Promise<void> {
  if (values.help) {
    print(USAGE);
    return;
  }
  if (values.bite) {
    const names = Object.keys(values.found ? FOUND : MISTAKES).filter((name) => values.mistake === undefined || name === values.mistake);
    process.exitCode = await bite(names, { seeds: whole('seeds', 1) ?? 2_000, from: whole('from', 0) ?? 1, ...cpuBound() }, print);
    return;
  }
  const self = fileURLToPath(import.meta.url);
  if (values.coverage) {
    process.exitCode = await coverage(whole('seeds', 1) ?? 200, values.trace, print, self);
    return;
  }
  if (values['same-on'] !== undefined) {
    const range = ['--seeds', values.seeds ?? '5', '--from', values.from ?? '1'];
    process.exitCode = await compareNodes(values['same-on'], range, print, self);
    return;
  }
  plant(mutations());
  if (values.memory) {
    const { memory } = await import('./memory.js');
    process.exitCode = await memory(whole('rounds', 3) ?? 8, print);
    return;
  }
  if (values.tell !== undefined) {
    const { tell } = await import('./scenario/tell.js');
    process.exitCode = await tell(values.tell, print);
    return;
  }
  if (values.scenario !== undefined) {
    const { scenarios } = await import('./scenario/command.js');
    process.exitCode = await scenarios(values.scenario, values, print);
    return;
  }
  process.exitCode = await seeds(self);
}

/** Runs the seeds that were asked for, here or in several processes, and returns the exit code. */
async function seeds(self: string): Promise<number> {
  const given = planOptions();
  const from = whole('seed', 0) ?? whole('from', 0) ?? 1;
  const count = values.seed === undefined ? (whole('seeds', 1) ?? 20) : 1;
  const jobs = whole('jobs', 1) ?? 1;
  const [lines, { cpuMinutes = Infinity }] = [whole('lines', 1), cpuBound()];
  if (jobs > 1 && values.trace) refuse('--trace: the lines of several seeds at once are no story; leave --jobs out');
  const summary = new Summary();
  const startedMs = performance.now();
  const cost = { seconds: 0, cpuSeconds: 0 };
  const onSeed = (report: SeedReport, cpuSeconds: number): boolean => {
    summary.add(report);
    Object.assign(cost, { seconds: (performance.now() - startedMs) / 1000, cpuSeconds });
    if (report.story !== undefined && !values.json) print(report.story);
    if (report.failure !== undefined) return !values.stop;
    if (count === 1 && !values.json) print(`seed ${String(report.seed)}: no violation; trace ${report.hash}, ${String(report.steps)} lines`);
    return cpuSeconds <= cpuMinutes * 60;
  };
  const options = { toShrink: values.shrink, ...(values.trace ? { sink: print } : {}), ...(lines === undefined ? {} : { lines }) };
  if (jobs > 1 && !values.worker) {
    await runJobs(jobs, { from, count }, { main: self, args: process.argv.slice(2) }, onSeed);
  } else {
    // Not before: what is loaded already cannot be mutated.
    const { runSeed } = await import('./seeds.js');
    if (values.worker) {
      work((seed) => runSeed(seed, given, options));
      return 0;
    }
    const before = cpuSecondsNow();
    for (let seed = from; seed < from + count; seed++) {
      const report = await runSeed(seed, given, options);
      if (!onSeed(report, cpuSecondsNow() - before)) break;
    }
  }
  print(values.json ? summary.json(count, from, cost) : summary.line(cost));
  return summary.failures.length === 0 ? 0 : 1;
}

await main();
