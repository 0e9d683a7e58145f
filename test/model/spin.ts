// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { MigrationState, SourceFact, TargetFact } from '@lockstep/sdk/v1';
import { actions, tables, type CellChange } from './tables.js';

/** The models lie beside the sources, also where the compiled program runs. */
export const MODELS = fileURLToPath(new URL(import.meta.url.includes('/dist/') ? '../../model/' : './', import.meta.url));

/** How much of the world is tried: all orders of events within these bounds. */
export interface Bounds {
  leaders: number;
  migrations: number;
  faults: number;
  timeouts: number;
  duplicates: number;
  wishes: number;
}

export interface Check {
  bounds: Bounds;
  /** Guards that are taken away. */
  without?: readonly string[];
  cell?: CellChange;
  /** Takes half the memory and half as long again. */
  compressed?: boolean;
  /** Memory that it may take. */
  memoryMiB?: number;
}

export interface Outcome {
  /** Every state within the bounds was visited. */
  complete: boolean;
  /** What did not hold; undefined: nothing was found. */
  error: string | undefined;
  states: number;
  transitions: number;
  depth: number;
  seconds: number;
  /** How often each cell of the recovery table, and each transition of the journal, was used. */
  cells: Map<string, number>;
  used: Map<string, number>;
  /** The steps that lead to the error, one a line. */
  steps: string[];
}

const DEPTH = 1_000_000;
const OUTPUT_BYTES = 64 * 1024 * 1024;

/** Builds the checker for one set of bounds and runs it to its end. Deterministic: no order of search is left to chance. */
export async function check({ bounds, without = [], cell, compressed = false, memoryMiB = 4096 }: Check): Promise<Outcome> {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-model-'));
  try {
    for (const name of readdirSync(MODELS)) {
      if (name.endsWith('.pml')) copyFileSync(join(MODELS, name), join(folder, name));
    }
    writeFileSync(join(folder, 'tables.pml'), tables(cell));
    const defines = [
      ...Object.entries(bounds).map(([name, value]) => `-D${name.toUpperCase()}=${String(value)}`),
      ...without.map((guard) => `-D${guard}=0`),
    ];
    const made = await run(folder, 'spin', [...defines, '-a', 'live.pml']);
    if (made.code !== 0 || !existsSync(join(folder, 'pan.c'))) throw new Error(`spin does not take the model:\n${made.text}`);
    const limits = ['-DSAFETY', '-DNOFAIR', `-DMEMLIM=${String(memoryMiB)}`, ...(compressed ? ['-DCOLLAPSE'] : [])];
    // Not optimised: to compile what spin makes of this takes longer then than the check does.
    const compiled = await run(folder, 'gcc', ['-O0', '-w', ...limits, '-o', 'pan', 'pan.c']);
    if (compiled.code !== 0) throw new Error(`gcc does not take what spin made:\n${compiled.text}`);
    const { text } = await run(folder, './pan', [`-m${String(DEPTH)}`]);
    const outcome = read(text);
    if (outcome.error !== undefined) outcome.steps = told((await run(folder, './pan', ['-r', 'live.pml.trail'])).text);
    return outcome;
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function run(cwd: string, program: string, args: string[]): Promise<{ code: number; text: string }> {
  return new Promise((resolve, reject) => {
    execFile(program, args, { cwd, maxBuffer: OUTPUT_BYTES }, (error, stdout, stderr) => {
      if (error !== null && typeof error.code === 'string') {
        reject(new Error(`${program}: ${error.message}; Debian's packages spin and gcc are needed`));
        return;
      }
      resolve({ code: error === null ? 0 : Number(error.code ?? 1), text: stdout + stderr });
    });
  });
}

function read(text: string): Outcome {
  const whole = (pattern: RegExp): number => Number(pattern.exec(text)?.[1] ?? 0);
  const errors = /errors: (\d+)/.exec(text)?.[1];
  if (errors === undefined) throw new Error(`the checker ended without a result:\n${text.slice(-2000)}`);
  const tooFar = /max search depth too small|out of memory|reached -DMEMLIM|memory limit/.test(text);
  const [, what] = /pan:\d+: (.*?) \(at depth/.exec(text) ?? [];
  return {
    complete: errors === '0' && !tooFar && !text.includes('Search not completed'),
    error: errors === '0' ? undefined : (what ?? 'an error that the checker does not name'),
    states: whole(/(\d+) states, stored/),
    transitions: whole(/(\d+) transitions/),
    depth: whole(/depth reached (\d+)/),
    seconds: whole(/elapsed time ([\d.]+) seconds/),
    cells: counts(text, 'cell'),
    used: counts(text, 'transition'),
    steps: [],
  };
}

function counts(text: string, what: string): Map<string, number> {
  return new Map(
    [...text.matchAll(new RegExp(`^${what} (\\S+) (\\d+)$`, 'gm'))].map(([, name = '', times]) => [name, Number(times)]),
  );
}

const ORDERS = [
  ...['Prepare(source)', 'Transfer', 'Commit(source)', 'Abort(source)', 'GiveUp(source)', 'Seize(source)'],
  ...['Prepare(target)', 'Commit(target)', 'Abort(target)', 'GiveUp(target)', 'Seize(target)'],
];
const DOMAINS = ['nothing', 'a guest that runs', 'a guest that runs and is sent', 'a guest that stands', 'an incoming guest'];
const ANSWERS = new Map([
  [0, 'no answer yet'],
  [21, 'OK'],
  [22, 'refused'],
  [23, 'VM_RUNNING'],
]);

/** The model tells what it does as it is played back; each such line begins with a star. Numbers become names here. */
function told(text: string): string[] {
  const action = actions();
  const namer: Readonly<Record<string, (value: number) => string | undefined>> = {
    order: (value) => ORDERS[value],
    domain: (value) => DOMAINS[value],
    answer: (value) => ANSWERS.get(value) ?? 'a fact',
    source: (value) => nameOf(SourceFact, value),
    target: (value) => nameOf(TargetFact, value),
    state: (value) => nameOf(MigrationState, value),
    action: (value) => action[value - 1],
  };
  const lines = [...text.matchAll(/\* (.*)$/gm)].filter(([line]) => !line.includes('%'));
  return lines.map(([, line = '']) =>
    line
      .replace(/\{(\w+) (\d+)\}/g, (whole, kind: string, value: string) => namer[kind]?.(Number(value)) ?? whole)
      .replace(/host (\d)/g, (_whole, host: string) => `host ${['A', 'B', 'C'][Number(host)] ?? host}`)
      .trim(),
  );
}

function nameOf(of: Readonly<Record<string, unknown>>, value: number): string | undefined {
  return Object.keys(of).find((name) => of[name] === value);
}
