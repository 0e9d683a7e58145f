// SPDX-License-Identifier: Apache-2.0
// `npm test`: set-up, then every part one after another. The last line is `N passed, N failed`.
// Plain JavaScript on node alone: it must be able to report a set-up or a build that fails.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { summarise } from './summary.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url));
const isRoot = process.getuid?.() === 0;

/**
 * Each part with the time it may take at most; a part that takes longer hangs, and is ended. One that names another in
 * `beside` runs at the same time: labs wait most of the time.
 */
const parts = [
  {
    name: 'set-up',
    limitMinutes: 20,
    run: (part) => command(part, 'sh', ['deploy/setup/setup.sh']),
    onlyFailureCounts: true,
  },
  { name: 'check', limitMinutes: 10, run: (part) => command(part, 'npm', ['run', '--silent', 'check']) },
  { name: 'unit', limitMinutes: 10, run: vitest },
  { name: 'contract', limitMinutes: 10, run: vitest },
  { name: 'simulation', limitMinutes: 10, run: vitest },
  { name: 'model', limitMinutes: 20, run: vitest },
  { name: 'lab', limitMinutes: 30, run: vitest, needsRoot: true },
  { name: 'lab-beside', limitMinutes: 30, run: vitest, needsRoot: true, beside: 'lab', env: { LOCKSTEP_TEST_RUN: 'lt10' } },
];

/** Runs a program in a process group of its own, so that a hanging part is ended with all its children. */
function execute(part, program, args) {
  return new Promise((resolve) => {
    const env = { ...process.env, ...part.env };
    const child = spawn(program, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
    running.add(child);
    for (const stream of [child.stdout, child.stderr]) {
      createInterface(stream).on('line', (line) => console.log(`${part.name} | ${line}`));
    }
    const limit = setTimeout(() => {
      console.log(`${part.name}: still running after ${part.limitMinutes} minutes, ended`);
      endGroup(child);
    }, part.limitMinutes * 60_000);
    const done = (code) => {
      clearTimeout(limit);
      running.delete(child);
      resolve(code);
    };
    child.on('error', (error) => {
      console.log(`${part.name}: ${error.message}`);
      done(127);
    });
    child.on('close', (code) => done(code ?? 1));
  });
}

const running = new Set();

function endGroup(child) {
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    // It ended by itself in this moment.
  }
}

for (const signal of ['SIGINT', 'SIGTERM']) {
  process.on(signal, () => {
    for (const child of running) endGroup(child);
    process.exit(130);
  });
}

async function command(part, program, args) {
  const code = await execute(part, program, args);
  if (code !== 0) return { passed: 0, failed: 1, notes: [`${[program, ...args].join(' ')} exited with ${code}`] };
  return { passed: part.onlyFailureCounts === true ? 0 : 1, failed: 0, notes: [] };
}

async function vitest(part) {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-test-'));
  const report = join(folder, 'report.json');
  try {
    const code = await execute(part, join(root, 'node_modules/.bin/vitest'), [
      'run',
      ...['--config', 'test/vitest.config.ts', '--project', part.name],
      ...['--reporter', 'default', '--reporter', 'json', '--outputFile.json', report],
    ]);
    return summarise(code, readReport(report));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function readReport(file) {
  try {
    return JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    return undefined;
  }
}

function finish({ passed, failed }) {
  console.log(`${passed} passed, ${failed} failed`);
  process.exitCode = failed === 0 ? 0 : 1;
}

/** The parts that were asked for by name, or all; the set-up always. */
function chosen(names) {
  const unknown = names.filter((name) => !parts.some((part) => part.name === name));
  if (unknown.length > 0) {
    console.log(`no part called ${unknown.join(', ')}; there are: ${parts.map((part) => part.name).join(', ')}`);
    process.exit(2);
  }
  return parts.filter((part) => part.name === 'set-up' || names.length === 0 || names.includes(part.name));
}

/** What runs at the same time, one such group after another. */
function stagesOf(wanted) {
  const stages = [];
  for (const part of wanted) {
    if (part.beside !== undefined && stages.at(-1)?.[0].name === part.beside) stages.at(-1).push(part);
    else stages.push([part]);
  }
  return stages;
}

async function runOne(part) {
  if (part.needsRoot && !isRoot) {
    return { passed: 0, failed: 0, texts: [`${part.name}: NOT RUN: it makes network namespaces and needs root`] };
  }
  const start = performance.now();
  const { passed, failed, notes } = await part.run(part);
  const seconds = ((performance.now() - start) / 1000).toFixed(1);
  const line = `${part.name}: ${passed} passed, ${failed} failed, ${seconds} s`;
  console.log(line);
  return { passed, failed, texts: [line, ...notes.map((note) => `  ${note}`)] };
}

async function main() {
  const total = { passed: 0, failed: 0 };
  const lines = [];
  const wanted = chosen(process.argv.slice(2));
  if (!isRoot && process.env.CI === 'true' && wanted.some((part) => part.needsRoot)) {
    console.log('CI=true, but this is not root: the lab part cannot run, and a run without it proves too little.');
    return finish({ passed: 0, failed: 1 });
  }
  for (const together of stagesOf(wanted)) {
    const results = await Promise.all(together.map(runOne));
    for (const { passed, failed, texts } of results) {
      lines.push(...texts);
      total.passed += passed;
      total.failed += failed;
    }
    // Nothing that follows could mean anything without modules or a build.
    if (together[0].name === 'set-up' && total.failed > 0) break;
  }
  console.log(`\n${lines.join('\n')}`);
  return finish(total);
}

await main();
