// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeAll, it } from 'vitest';
import { until } from '#lab';
import { beginMove, removeGuests, startGuest, transferring } from '../guest.js';
import { killPart, lab, meshUp, migrationOf, startPartAgain } from '../mesh.js';

beforeAll(meshUp);
afterEach(removeGuests);

const OUTAGE_MS = 30_000;
/** A new leader, sessions that begin anew, and a settle with its pauses. */
const SETTLE_LIMIT_MS = 240_000;
/** It never rests, and its memory takes some ten seconds at this rate: the transfer ends while there is no store. */
const BUSY = { kind: 'dirty', dirtyMib: 64, dirtyMibPerSecond: 4 } as const;
const SOME_TEN_SECONDS = '12MiB';

it('Consul is gone for 30 s in mid-transfer: the move is committed or undone, nothing restarts, there is one copy', async () => {
  const guest = await startGuest('h1', BUSY);
  const id = await beginMove(guest, 'h2', '--bandwidth', SOME_TEN_SECONDS);
  await transferring(id);
  for (const { name } of lab.hosts) await killPart(name, 'consul');
  await sleep(OUTAGE_MS);
  await Promise.all(lab.hosts.map(async ({ name }) => startPartAgain(name, 'consul')));

  let state = '';
  await until('the migration has ended', SETTLE_LIMIT_MS, async () => {
    const shown = await migrationOf(id).catch((error: unknown) => String(error));
    if (typeof shown === 'string') return shown;
    state = shown.state;
    return ['MIGRATION_STATE_SUCCEEDED', 'MIGRATION_STATE_ABORTED'].includes(state) ? undefined : `${state}: ${shown.detail ?? ''}`;
  });
  process.stdout.write(`Consul gone for 30 s in mid-transfer: ${state}\n`);
  await guest.runsOnlyOn(state === 'MIGRATION_STATE_SUCCEEDED' ? 'h2' : 'h1');
  await guest.countsOn();
  await meshUp();
});
