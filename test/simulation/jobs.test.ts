// SPDX-License-Identifier: Apache-2.0
import { spawn, spawnSync } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const MAIN = fileURLToPath(new URL('../dist/simulation/main.js', import.meta.url));
/** Short ones: what is tested here is who runs them. */
const SHORT = ['--seeds', '3', '--from', '1', '--minutes', '0.2', '--nodes', '2', '--vms', '1'];

interface Report {
  ran: number;
  hashes: Record<string, string>;
  virtualMinutes: number;
  wishes: number;
  failures: { seed: number }[];
}

function sim(...args: string[]): { status: number | null; stdout: string; stderr: string } {
  return spawnSync(process.execPath, [MAIN, ...args], { encoding: 'utf8' });
}

it('several processes report what one would have', () => {
  const [one, two] = [sim(...SHORT, '--json'), sim(...SHORT, '--json', '--jobs', '2')];
  const [alone, shared] = [JSON.parse(one.stdout), JSON.parse(two.stdout)] as [Report, Report];
  expect(shared.ran).toBe(3);
  expect(shared.hashes).toEqual(alone.hashes);
  expect([shared.wishes, shared.failures]).toEqual([alone.wishes, alone.failures]);
  expect(shared.virtualMinutes).toBeCloseTo(alone.virtualMinutes, 6);
  expect([one.status, two.status]).toEqual([0, 0]);
});

it('a story of another process is told whole, and counts', () => {
  const { status, stdout } = sim(...['--seeds', '2', '--from', '1', '--jobs', '2'], ...['--mistake', 'commits without Finish']);
  expect(status, stdout).toBe(1);
  expect(stdout).toContain('again:  npm run sim -- --seed 1');
  expect(stdout.trimEnd().split('\n').at(-1)).toMatch(/^2 seeds, [12] with a violation \(1 INV-\d/);
});

it('with --stop the others do not go on after the first violation', () => {
  const { status, stdout } = sim(...['--seeds', '2000', '--from', '1', '--jobs', '2', '--stop', '--json'], ...['--mistake', 'commits without Finish']);
  const { ran, failures } = JSON.parse(stdout) as Report;
  expect(status).toBe(1);
  expect(failures).toHaveLength(1);
  expect(ran).toBeLessThan(100);
});

it('an interrupt ends all processes', async () => {
  const first = spawn(process.execPath, [MAIN, '--seeds', '2000', '--jobs', '2', '--json'], { stdio: 'ignore' });
  const ended = new Promise<number | null>((resolve) => first.once('exit', resolve));
  let children: number[] = [];
  for (let tries = 0; tries < 300 && children.length < 2; tries++) {
    await sleep(100);
    children = childrenOf(first.pid);
  }
  expect(children).toHaveLength(2);
  first.kill('SIGINT');
  expect(await ended).toBe(130);
  for (let tries = 0; tries < 300 && children.some(isThere); tries++) await sleep(100);
  expect(children.filter(isThere)).toEqual([]);
});

/** What stands behind the name of a process: its state, its parent, and more. */
function statOf(pid: number): string[] {
  try {
    return readFileSync(`/proc/${String(pid)}/stat`, 'utf8').replace(/^.*\) /s, '').split(' ');
  } catch {
    return [];
  }
}

function childrenOf(parent: number | undefined): number[] {
  return readdirSync('/proc').map(Number).filter((pid) => Number.isInteger(pid) && statOf(pid)[1] === String(parent));
}

/** A zombie is none. */
function isThere(pid: number): boolean {
  const [state = 'Z'] = statOf(pid);
  return state !== 'Z';
}
