// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';

/** What 200 seeds shall reach. */
const PARTS = ['core', 'node-agent', 'scheduler', 'fencer'];
const GOAL_PERCENT = 85;
const SERVICES = fileURLToPath(new URL('../../../services/dist/', import.meta.url));
const SOURCES = fileURLToPath(new URL('../../../services/', import.meta.url));
/** What only `main.ts` of a service reaches: its files, its options, its exposition of metrics. */
const COMPOSITION = /(^|\/)(main|config|metrics)\.js$/;
const TESTS = /\.test\.js$|(^|\/)test-[a-z-]+\.js$/;

interface Ranged {
  ranges: { startOffset: number; endOffset: number; count: number }[];
}
interface Script {
  url: string;
  functions: Ranged[];
}

/** Runs seeds and prints which share of the services' lines they reached, and each line they did not where `every`. Returns the exit code. */
export async function coverage(seeds: number, every: boolean, print: (text: string) => void, main: string): Promise<number> {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-coverage-'));
  try {
    await seedsIn(folder, seeds, main);
    const scripts = readdirSync(folder).flatMap((file) => (JSON.parse(readFileSync(join(folder, file), 'utf8')) as { result: Script[] }).result);
    return tell(scripts, { seeds, every }, print);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function seedsIn(folder: string, seeds: number, main: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, '--seeds', String(seeds), '--json'], {
      stdio: ['ignore', 'ignore', 'inherit'],
      env: { ...process.env, NODE_V8_COVERAGE: folder },
    });
    child.once('error', reject);
    child.once('close', () => {
      resolve();
    });
  });
}

/** Compiled files of a part; what a build of before left behind is none. */
function filesOf(part: string): string[] {
  return readdirSync(join(SERVICES, part), { recursive: true, encoding: 'utf8' }).filter(
    (file) =>
      file.endsWith('.js') && !COMPOSITION.test(file) && !TESTS.test(file) && existsSync(join(SOURCES, part, file.replace(/js$/, 'ts'))),
  );
}

function tell(scripts: readonly Script[], { seeds, every }: { seeds: number; every: boolean }, print: (text: string) => void): number {
  let [allLines, allReached] = [0, 0];
  const poor: [file: string, percent: number, missed: number][] = [];
  print('| part | lines | reached | share |\n|---|---|---|---|');
  for (const part of PARTS) {
    let [lines, reached] = [0, 0];
    for (const file of filesOf(part)) {
      const path = join(SERVICES, part, file);
      const found = linesOf(readFileSync(path, 'utf8'), scripts.filter(({ url }) => url === pathToFileURL(path).href));
      lines += found.lines;
      reached += found.lines - found.missed.length;
      poor.push([`${part}/${file}`, 100 - (100 * found.missed.length) / Math.max(1, found.lines), found.missed.length]);
      if (every) for (const missed of found.missed) print(`not reached: ${part}/${file}:${missed}`);
    }
    print(`| ${part} | ${String(lines)} | ${String(reached)} | ${((100 * reached) / Math.max(1, lines)).toFixed(1)} % |`);
    allLines += lines;
    allReached += reached;
  }
  const share = (100 * allReached) / Math.max(1, allLines);
  print(`\n${String(seeds)} seeds reach ${share.toFixed(1)} % of the lines; the goal is ${String(GOAL_PERCENT)} %. Most is missing in:`);
  for (const [file, percent, missed] of poor.sort((one, other) => other[2] - one[2]).slice(0, 12)) {
    print(`  ${file}: ${percent.toFixed(0)} %, ${String(missed)} lines`);
  }
  return share >= GOAL_PERCENT ? 0 : 1;
}

/** Lines with code, and those of them that ran in no process. */
function linesOf(text: string, runs: readonly Script[]): { lines: number; missed: string[] } {
  const ran = runs.map(({ functions }) => ranOf(text.length, functions));
  const missed: string[] = [];
  let [lines, offset, inComment] = [0, 0, false];
  for (const [place, line] of text.split('\n').entries()) {
    const code = line.trim();
    const begins = code.startsWith('/*');
    const isCode = !inComment && !begins && !code.startsWith('//') && /[A-Za-z0-9]/.test(code);
    inComment = (inComment || begins) && !code.includes('*/');
    const first = offset + line.indexOf(code);
    if (isCode) lines += 1;
    if (isCode && !ran.some((map) => map[first] === 1)) missed.push(`${String(place + 1)}: ${code}`);
    offset += line.length + 1;
  }
  return { lines, missed };
}

/** For each character whether it ran; inner ranges stand after the outer ones that they are part of. */
function ranOf(length: number, functions: readonly Ranged[]): Uint8Array {
  const ran = new Uint8Array(length);
  for (const { ranges } of functions) {
    for (const { startOffset, endOffset, count } of ranges) ran.fill(count > 0 ? 1 : 0, startOffset, endOffset);
  }
  return ran;
}
