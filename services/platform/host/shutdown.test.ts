// SPDX-License-Identifier: Apache-2.0
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createSystemdShutdown } from './shutdown.js';

let folder: string;

beforeEach(async () => {
  folder = await mkdtemp(join(tmpdir(), 'lockstep-shutdown-'));
});

afterEach(async () => {
  await rm(folder, { recursive: true });
});

/** A systemctl that answers as the real one does, by status and stdout. */
async function systemctl(state: string, jobs: string): Promise<string> {
  const path = join(folder, 'systemctl');
  const status = state === 'running' ? 0 : 1;
  const script = `#!/bin/sh\ncase $1 in\nis-system-running) echo ${state}; exit ${String(status)} ;;\nlist-jobs) printf '%s\\n' '${jobs}' ;;\nesac\n`;
  await writeFile(path, script);
  await chmod(path, 0o755);
  return path;
}

describe('the end of a service', () => {
  it.each(['running', 'degraded', 'starting', 'maintenance'])('is not the end of a host that is %s', async (state) => {
    const path = await systemctl(state, '12 reboot.target start waiting');
    expect(await createSystemdShutdown(path).goingDown()).toBe('no');
  });

  it.each([
    ['71 reboot.target start waiting', 'reboot'],
    ['71 kexec.target start waiting', 'reboot'],
    ['71 poweroff.target start waiting', 'shutdown'],
    ['71 halt.target start waiting', 'shutdown'],
    ['', 'shutdown'],
  ])('is the end of a host that stops with the jobs "%s": %s', async (jobs, kind) => {
    expect(await createSystemdShutdown(await systemctl('stopping', jobs)).goingDown()).toBe(kind);
  });

  it('is not taken for the end of a host without a service manager', async () => {
    expect(await createSystemdShutdown(join(folder, 'none')).goingDown()).toBe('no');
  });
});
