// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const MAIN = fileURLToPath(new URL('../dist/simulation/main.js', import.meta.url));

interface Failure {
  violation: { invariant: string };
  faults: string[];
  nodes: number;
  vms: number;
  minutes: number;
}

function failure(...args: string[]): Failure {
  const { stdout, stderr } = spawnSync(process.execPath, [MAIN, '--mistake', 'commits without Finish', '--seed', '1', '--json', ...args], { encoding: 'utf8' });
  const [first] = (JSON.parse(stdout) as { failures: Failure[] }).failures;
  if (first === undefined) throw new Error(`no violation: ${stdout}${stderr}`);
  return first;
}

it('a failing seed is shrunk to fewer faults, VMs and minutes, and breaks the same promise', () => {
  const [whole, shrunk] = [failure(), failure('--shrink')];
  expect(shrunk.violation.invariant).toBe(whole.violation.invariant);
  expect(shrunk.faults.length).toBeLessThan(whole.faults.length);
  expect(whole.faults).toEqual(expect.arrayContaining(shrunk.faults));
  expect(shrunk.vms).toBeLessThan(whole.vms);
  expect(shrunk.nodes).toBeLessThanOrEqual(whole.nodes);
  expect(shrunk.minutes).toBeLessThan(whole.minutes);
});
