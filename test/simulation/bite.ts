// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';

interface Report {
  /** How many seeds were run. */
  ran: number;
  failures: { seed: number; violation: { invariant: string; detail: string } }[];
}

/** Plants these mistakes in turn and tells which seed found it, within seeds and CPU minutes for each. 0: all were found. */
export async function bite(
  names: readonly string[],
  { seeds, from = 1, cpuMinutes }: { seeds: number; from?: number; cpuMinutes?: number },
  print: (line: string) => void,
  main = fileURLToPath(new URL('main.js', import.meta.url)),
): Promise<number> {
  const missed: string[] = [];
  print('| mistake | seeds | found as |');
  print('|---|---|---|');
  for (const name of names) {
    const bound = cpuMinutes === undefined ? [] : ['--cpu-minutes', String(cpuMinutes)];
    const { failures, ran } = await reportOf(main, ['--mistake', name, '--from', String(from), '--seeds', String(seeds), ...bound]);
    const [first] = failures;
    if (first === undefined) missed.push(name);
    print(`| ${name} | ${String(first?.seed ?? `not in ${String(ran)}`)} | ${first?.violation.invariant ?? ''} |`);
  }
  print(`${String(names.length - missed.length)} of ${String(names.length)} found`);
  return missed.length === 0 ? 0 : 1;
}

/** In a process of its own: what was planted cannot be taken out again. */
function reportOf(main: string, args: readonly string[]): Promise<Report> {
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [main, ...args, '--stop', '--json'], {
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
        reject(new Error(`the services do not run with ${args.join(' ')} (above): the mistake itself is mistaken`));
      }
    });
  });
}
