// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { MISTAKES } from './mistakes.js';

interface Report {
  failures: { seed: number; violation: { invariant: string; detail: string } }[];
}

/** Plants every mistake in turn and tells how many seeds the simulation needed to find it. 0: all were found. */
export async function bite(
  only: string | undefined,
  seeds: number,
  print: (line: string) => void,
  main = fileURLToPath(new URL('main.js', import.meta.url)),
): Promise<number> {
  const names = Object.keys(MISTAKES).filter((name) => only === undefined || name === only);
  const missed: string[] = [];
  print('| mistake | seeds | found as |');
  print('|---|---|---|');
  for (const name of names) {
    const first = (await reportOf(main, name, seeds)).failures[0];
    if (first === undefined) missed.push(name);
    print(`| ${name} | ${String(first?.seed ?? `not in ${String(seeds)}`)} | ${first?.violation.invariant ?? ''} |`);
  }
  print(`${String(names.length - missed.length)} of ${String(names.length)} found`);
  return missed.length === 0 ? 0 : 1;
}

/** In a process of its own: what was planted cannot be taken out again. */
function reportOf(main: string, name: string, seeds: number): Promise<Report> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, '--mistake', name, '--seeds', String(seeds), '--stop', '--json'], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    child.once('error', reject);
    child.once('close', () => {
      try {
        resolve(JSON.parse(text) as Report);
      } catch {
        reject(new Error(`the services do not run with "${name}" (above): the mistake itself is mistaken`));
      }
    });
  });
}
