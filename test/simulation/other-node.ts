// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';

interface Traces {
  hashes: Record<string, string>;
}

/** Runs the same seeds on this Node and on another, which npm fetches, and compares their traces. Returns the exit code. */
export async function compareNodes(version: string, args: readonly string[], print: (text: string) => void, main: string): Promise<number> {
  const here = await tracesOf(process.execPath, [main, ...args, '--json']);
  const there = await tracesOf('npx', ['--yes', '--package', `node@${version}`, '--', 'node', main, ...args, '--json']);
  const seeds = Object.keys(here.hashes);
  const others = seeds.filter((seed) => here.hashes[seed] !== there.hashes[seed]);
  print(
    others.length === 0
      ? `${String(seeds.length)} seeds have the same trace, byte for byte, on Node ${process.version} and on node@${version}`
      : `other traces on node@${version}: seeds ${others.join(', ')}`,
  );
  return others.length === 0 && seeds.length > 0 ? 0 : 1;
}

function tracesOf(program: string, args: readonly string[]): Promise<Traces> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk.toString();
    });
    child.once('error', reject);
    child.once('close', () => {
      try {
        resolve(JSON.parse(text) as Traces);
      } catch (error) {
        reject(new Error(`${program} did not run the seeds`, { cause: error }));
      }
    });
  });
}
