// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { createVirtualClock } from '../clock/virtual.js';
import { createWatchdogDevice } from './device.js';
import { createSimulatedWatchdog } from './simulated.js';

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'watchdog-'));
});
afterEach(() => {
  rmSync(folder, { recursive: true });
});

describe('a watchdog of the kernel', () => {
  it('is fed by bytes, and ended by the one that says so, and by no other', async () => {
    const path = join(folder, 'watchdog0');
    writeFileSync(path, '');
    const armed = await createWatchdogDevice(path, folder).arm();
    await armed.feed();
    await armed.feed();
    expect(readFileSync(path, 'latin1')).toBe('\0\0\0');
    await armed.disarm();
    expect(readFileSync(path, 'latin1')).toBe('\0\0\0V');
  });

  it('that is not there cannot be armed, and says no time', async () => {
    const watchdog = createWatchdogDevice(join(folder, 'none'), folder);
    await expect(watchdog.arm()).rejects.toMatchObject({ code: 'ENOENT' });
    expect(await watchdog.timeoutMs()).toBeUndefined();
  });
});

it('a simulated one expires where it is not fed, and not where it was ended', async () => {
  const clock = createVirtualClock();
  let expired = 0;
  const watchdog = createSimulatedWatchdog({ clock, timeoutMs: 10_000, onExpiry: () => { expired += 1; } });
  const armed = await watchdog.arm();
  await clock.advance(9_000);
  await armed.feed();
  await clock.advance(9_000);
  expect(expired).toBe(0);
  await armed.disarm();
  await clock.advance(60_000);
  expect(expired).toBe(0);
  await watchdog.arm();
  await clock.advance(10_001);
  expect(expired).toBe(1);
});
