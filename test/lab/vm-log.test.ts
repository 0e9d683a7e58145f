// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, beforeAll, expect, it } from 'vitest';
import { checkContinuity, until } from '../../deploy/lab/api.js';
import { removeGuests, startGuest } from './guest.js';
import { lab, meshEnv, meshUp, ok, servers } from './mesh.js';

const LIMIT_MS = 120_000;

beforeAll(meshUp);
afterEach(removeGuests);

it("a VM's console is followed across a move, without a gap and without a line twice", async () => {
  const guest = await startGuest('h1');
  const tail = await ok('vm', 'log', guest.name, '--lines', '3');
  expect(tail.trimEnd().split('\n').length).toBeGreaterThanOrEqual(3);

  const cli = join(lab.checkout, 'clients/cli/dist/main.js');
  const env = { ...meshEnv, LOCKSTEP_SERVER: servers.join(), NO_COLOR: '1' };
  const child = spawn(process.execPath, [cli, 'vm', 'log', guest.name, '--lines', '9999', '--follow'], {
    env,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (more: string) => {
    text += more;
  });
  const exitCode = new Promise<number | null>((resolve) => {
    child.on('close', resolve);
  });
  const grows = async (what: string): Promise<void> => {
    const { length } = text;
    await until(what, LIMIT_MS, () => Promise.resolve(text.length > length + 100 ? undefined : `${text.length} characters`));
  };
  try {
    await grows('it follows');
    await ok('vm', 'migrate', guest.name, 'h2', '--force-live', '--wait', '--timeout', '120s');
    await grows('it goes on at the target');
    await ok('vm', 'migrate', guest.name, 'h1', '--force-live', '--wait', '--timeout', '120s');
    await grows('it goes on at the source, which has an older part of it');
  } finally {
    child.kill('SIGINT');
  }
  expect(await exitCode).toBe(130);
  const counted = text.slice(0, text.lastIndexOf('\n') + 1);
  expect(checkContinuity([{ host: 'the reader', text: counted }])).toMatchObject({ ok: true });
});
