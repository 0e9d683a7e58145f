// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeSync } from 'node:fs';
import { parseArgs } from 'node:util';
import { fileURLToPath } from 'node:url';
import { bite } from './bite.js';
import { coverage } from './coverage.js';
import { FOUND } from './found.js';
import { MISTAKES } from './mistakes.js';
import { plant, type Mutation } from './mutate.js';
import { compareNodes } from './other-node.js';
import { ALL_FAULTS, type Fault, FAULTS, planOf, type PlanOptions } from './world/plan.js';
import type { RunResult } from './world/run.js';

const USAGE = `usage: npm run sim -- [--seed N | --seeds COUNT [--from N]] [--minutes M] [--nodes COUNT] [--vms COUNT]
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

function whole(name: 'seed' | 'seeds' | 'from' | 'nodes' | 'vms' | 'schedulers' | 'lines' | 'rounds', least: number): number | undefined {
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

/** The command that does exactly this run again. */
function replay({ plan }: RunResult, given: PlanOptions): string {
  const words = [`npm run sim -- --seed ${String(plan.seed)}`];
  if (given.nodes !== undefined) words.push(`--nodes ${String(given.nodes)}`);
  if (given.vms !== undefined) words.push(`--vms ${String(given.vms)}`);
  if (given.schedulers !== undefined) words.push(`--schedulers ${String(given.schedulers)}`);
  if (given.safetyMs !== undefined) words.push(`--minutes ${String(given.safetyMs / 60_000)}`);
  if (given.faults !== undefined) words.push(`--faults ${given.faults.length === 0 ? 'none' : given.faults.join(',')}`);
  return words.join(' ');
}

function tellFailure(result: RunResult, given: PlanOptions): void {
  const { plan, violation, timeline } = result;
  if (violation === undefined) return;
  const { invariant, detail, step, atMs } = violation;
  print(timeline.join('\n'));
  print(`\nseed ${String(plan.seed)}, step ${String(step)}, ${(atMs / 1000).toFixed(1)} s: ${invariant}: ${detail}`);
  print(`faults: ${plan.faults.join(', ')}; ${String(plan.nodes)} nodes, ${String(plan.schedulers)} schedulers, ${String(plan.vms)} VMs`);
  print(`again:  ${replay(result, given)}`);
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
  // Not before: what is loaded already cannot be mutated.
  const [{ run }, { shrink }] = await Promise.all([import('./world/run.js'), import('./shrink.js')]);
  const given = planOptions();
  const first = whole('seed', 0) ?? whole('from', 0) ?? 1;
  const count = values.seed === undefined ? (whole('seeds', 1) ?? 20) : 1;
  const lines = whole('lines', 1);
  const failed: RunResult[] = [];
  const hashes: Record<string, string> = {};
  let [virtualMs, steps, migrations, wishes, slowestRestMs] = [0, 0, 0, 0, 0];
  const startedMs = performance.now();
  const startedCpu = process.cpuUsage();
  const { cpuMinutes = Infinity } = cpuBound();
  const cpuSecondsNow = (): number => {
    const { user, system } = process.cpuUsage(startedCpu);
    return (user + system) / 1e6;
  };
  for (let seed = first; seed < first + count; seed++) {
    const options = { ...(values.trace ? { sink: print } : {}), ...(lines === undefined ? {} : { lines }) };
    let result = await run(planOf(seed, given), options);
    hashes[seed] = result.hash;
    virtualMs += result.virtualMs;
    steps += result.steps;
    migrations += result.migrations;
    wishes += result.wishes;
    slowestRestMs = Math.max(slowestRestMs, result.restMs ?? 0);
    if (result.violation !== undefined) {
      let shownOptions = given;
      if (values.shrink) ({ result, options: shownOptions } = await shrink(result, given));
      failed.push(result);
      if (!values.json) tellFailure(result, shownOptions);
      if (values.stop) break;
    } else if (count === 1 && !values.json) {
      print(`seed ${String(seed)}: no violation; trace ${result.hash}, ${String(result.steps)} lines`);
    }
    if (cpuSecondsNow() > cpuMinutes * 60) break;
  }
  const seconds = (performance.now() - startedMs) / 1000;
  const cpuSeconds = cpuSecondsNow();
  const ran = Object.keys(hashes).length;
  const minutesPerSecond = virtualMs / 60_000 / seconds;
  const minutesPerCpuSecond = virtualMs / 60_000 / cpuSeconds;
  if (values.json) {
    const failures = failed.map(({ plan, violation, hash }) => ({ seed: plan.seed, violation, faults: plan.faults, nodes: plan.nodes, vms: plan.vms, minutes: plan.safetyMs / 60_000, hash }));
    print(JSON.stringify({ seeds: count, ran, from: first, failures, virtualMinutes: virtualMs / 60_000, seconds, minutesPerSecond, minutesPerCpuSecond, steps, migrations, wishes, slowestRestMs, hashes }));
  } else {
    print(
      `${String(ran)} seeds, ${String(failed.length)} with a violation${failed.length === 0 ? '' : ` (${failed.map(({ plan, violation }) => `${String(plan.seed)} ${violation?.invariant ?? ''}`).join(', ')})`}; ` +
        `${(virtualMs / 60_000).toFixed(0)} virtual minutes in ${seconds.toFixed(1)} s: ${minutesPerSecond.toFixed(1)} a second, ${minutesPerCpuSecond.toFixed(1)} a second of CPU; ` +
        `${String(wishes)} wishes, ${String(migrations)} migrations; slowest rest ${(slowestRestMs / 1000).toFixed(0)} s`,
    );
  }
  process.exitCode = failed.length === 0 ? 0 : 1;
}

await main();
