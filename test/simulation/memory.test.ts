// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, it } from 'vitest';

const MAIN = fileURLToPath(new URL('../dist/simulation/main.js', import.meta.url));

function run(...args: string[]): { status: number | null; text: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [MAIN, '--memory', '--rounds', '5', ...args], { encoding: 'utf8' });
  return { status, text: stdout + stderr };
}

it('what the processes hold does not grow from day to day', () => {
  const { status, text } = run();
  expect(status, text).toBe(0);
  expect(text).toMatch(/\d+ places hold \d+ entries/);
});

it('an agent that forgets no VM is seen to grow', () => {
  const folder = mkdtempSync(join(tmpdir(), 'lockstep-memory-'));
  try {
    const mistake = join(folder, 'mistake.json');
    writeFileSync(mistake, JSON.stringify({ file: 'node-agent/reconcile.js', find: 'this.#workers.delete(worker.vmId);', replace: '' }));
    const { status, text } = run('--mutate', mistake);
    expect(status, text).toBe(1);
    expect(text).toContain('GROWS node-agent/reconcile.js');
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});
