// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { removeGuests, startGuest } from './guest.js';
import { lockstep, meshUp, migrationOf, shown } from './mesh.js';

beforeAll(meshUp);
afterEach(removeGuests);

/** Rewrites its memory all the time, twice as fast as it may be sent. */
const RESTLESS = { kind: 'dirty', dirtyMib: 64, dirtyMibPerSecond: 16 } as const;
const TOO_LITTLE = '8MiB';
const DEADLINE_S = 45;
/** What a person gets who waits for a migration that is undone. */
const UNDONE = 6;

interface ShownMove {
  id: string;
  state: string;
  postCopy?: boolean;
  forecast?: { duration?: string; converges?: boolean };
  phases: { step: string; ok?: boolean; duration?: string }[];
}

const secondsOf = (duration: string | undefined): number => Number((duration ?? '0s').replace(/s$/, ''));

describe('a guest that never converges', () => {
  it('is ended within its deadline with its figures, and counts on at its source', async () => {
    const guest = await startGuest('h1', RESTLESS, '', ['--no-auto-converge', '--transfer-deadline', `${String(DEADLINE_S)}s`]);
    const moved = await lockstep('vm', 'migrate', guest.name, 'h2', '--force-live', '--wait', '--bandwidth', TOO_LITTLE);
    expect(moved.code, moved.stderr).toBe(UNDONE);
    expect(moved.stderr).toContain('NOT_CONVERGED');
    expect(moved.stderr).toMatch(/dirties [\d.]+ [GM]iB\/s over a [\d.]+ [GM]iB\/s link/);
    const [last] = await shown<ShownMove[]>('migration', 'list', '--vm', guest.name);
    const { phases } = await migrationOf(last?.id ?? '');
    const transfer = phases.find(({ step }) => step === 'MIGRATION_STEP_TRANSFER');
    const tookMs = new Date(transfer?.endTime ?? 0).getTime() - new Date(transfer?.startTime ?? 0).getTime();
    expect(tookMs).toBeLessThan((DEADLINE_S + 15) * 1000);
    await guest.runsOnlyOn('h1');
    await guest.countsOn();
  });

  it('arrives by post-copy where that is allowed, with its memory', async () => {
    const guest = await startGuest('h1', RESTLESS, '', ['--no-auto-converge', '--post-copy']);
    const moved = await lockstep('vm', 'migrate', guest.name, 'h2', '--force-live', '--wait', '--bandwidth', TOO_LITTLE);
    expect(moved.code, moved.stderr).toBe(0);
    const [last] = await shown<ShownMove[]>('migration', 'list', '--vm', guest.name);
    expect(last).toMatchObject({ state: 'MIGRATION_STATE_SUCCEEDED', postCopy: true });
    await guest.runsOnlyOn('h2');
    await guest.countsOn();
  });
});

describe('the forecast', () => {
  it('is within a factor of two for ten moves of guests that dirty their memory at different rates, in eight at least', async () => {
    const rows: { rate: number; forecastS: number; tookS: number }[] = [];
    for (const rate of [1, 2, 3, 4, 5, 6, 7, 8, 10, 12]) {
      const guest = await startGuest('h1', { kind: 'dirty', dirtyMib: 64, dirtyMibPerSecond: rate });
      const moved = await lockstep('vm', 'migrate', guest.name, 'h2', '--force-live', '--wait', '--bandwidth', '20MiB');
      expect(moved.code, moved.stderr).toBe(0);
      const [last] = await shown<ShownMove[]>('migration', 'list', '--vm', guest.name);
      const transfer = last?.phases.find(({ step }) => step === 'MIGRATION_STEP_TRANSFER');
      rows.push({ rate, forecastS: secondsOf(last?.forecast?.duration), tookS: secondsOf(transfer?.duration) });
      await removeGuests();
    }
    const table = rows.map(({ rate, forecastS, tookS }) => `${String(rate)} MiB/s: forecast ${forecastS.toFixed(1)} s, took ${tookS.toFixed(1)} s`);
    process.stdout.write(`${table.join('\n')}\n`);
    const good = rows.filter(({ forecastS, tookS }) => forecastS <= tookS * 2 && tookS <= forecastS * 2);
    expect(good.length, table.join('; ')).toBeGreaterThanOrEqual(8);
  });
});
