// SPDX-License-Identifier: Apache-2.0
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { until } from '../../deploy/lab/api.js';
import { beginMove, removeGuests, startGuest, transferring, type TestGuest } from './guest.js';
import { killPart, lockstep, meshUp, migrationOf, shown, startPartAgain } from './mesh.js';

beforeAll(meshUp);
afterEach(removeGuests);

/** Rewrites its memory all the time: how long its transfer takes is a matter of the bandwidth alone. */
const BUSY = { kind: 'dirty', dirtyMib: 64, dirtyMibPerSecond: 16 } as const;
/** Some five seconds for that guest. */
const SECONDS_OF_TRANSFER = '40MiB';
/** Less than that guest writes: its transfer does not end by itself while a test looks. */
const ENDLESS_TRANSFER = '8MiB';
/** A lease that ran out, and a new leader that has read everything, on a busy machine. */
const TAKEOVER_LIMIT_MS = 90_000;

interface ShownLeader {
  role: string;
  name: string;
  leaderEpoch: string;
}

/** Who leads the Schedulers; undefined while nobody does. */
async function leader(): Promise<ShownLeader | undefined> {
  const { code, stdout } = await lockstep('cluster', 'status', '-o', 'json');
  if (code !== 0) return undefined;
  return (JSON.parse(stdout) as { leaders: ShownLeader[] }).leaders.find(({ role }) => role === 'LEADER_ROLE_SCHEDULER');
}

/** Kills the leading Scheduler for as long as `meanwhile` runs. */
async function withoutItsLeader(meanwhile: () => Promise<void>): Promise<void> {
  const killed = await leader();
  if (killed === undefined) throw new Error('nobody leads');
  await killPart(killed.name, 'scheduler');
  try {
    await until('another Scheduler leads', TAKEOVER_LIMIT_MS, async () => {
      const now = await leader();
      const succeeded = now !== undefined && BigInt(now.leaderEpoch) > BigInt(killed.leaderEpoch);
      return succeeded ? undefined : `it is ${now === undefined ? 'nobody' : `${now.name} (${now.leaderEpoch})`}`;
    });
    await meanwhile();
  } finally {
    await startPartAgain(killed.name, 'scheduler');
  }
}

/** What a person gets who waits for a migration that is undone. */
const UNDONE = 6;

async function wasUndone(id: string, guest: TestGuest, reason: string): Promise<void> {
  expect(await migrationOf(id)).toMatchObject({ state: 'MIGRATION_STATE_ABORTED', reason });
  await guest.runsOnlyOn('h1');
  await guest.countsOn();
}

/** Nothing that was left over stands in the way. */
async function movesNow(guest: TestGuest, target: string): Promise<void> {
  const moved = await lockstep('vm', 'migrate', guest.name, target, '--force-live', '--wait', '--timeout', '120s');
  expect(moved, moved.stderr).toMatchObject({ code: 0 });
  await guest.runsOnlyOn(target);
  await guest.countsOn();
}

const watch = (id: string) => lockstep('migration', 'watch', id, '--timeout', '180s');

describe('a transfer that is called off', () => {
  it('leaves the guest running where it was, once', async () => {
    const guest = await startGuest('h1', BUSY);
    const id = await beginMove(guest, 'h2', '--bandwidth', ENDLESS_TRANSFER);
    await transferring(id);
    const watched = watch(id);
    expect(await lockstep('migration', 'cancel', id)).toMatchObject({ code: 0 });
    expect(await watched).toMatchObject({ code: UNDONE, stderr: expect.stringContaining('CANCELLED') as string });
    await wasUndone(id, guest, 'CANCELLED');

    const again = await lockstep('migration', 'cancel', id);
    expect(again).toMatchObject({ code: 4, stderr: expect.stringContaining('MIGRATION_ENDED') as string });
    await movesNow(guest, 'h2');
  });
});

describe('the leading Scheduler is killed in mid-transfer', () => {
  it('while the transfer ends: its successor brings the migration to an end', async () => {
    const guest = await startGuest('h1', BUSY);
    const id = await beginMove(guest, 'h2', '--bandwidth', SECONDS_OF_TRANSFER);
    await transferring(id);
    const watched = watch(id);
    await withoutItsLeader(async () => {
      const { code, stderr } = await watched;
      const { state } = await migrationOf(id);
      expect({ code, state }, stderr).toEqual(
        code === 0
          ? { code: 0, state: 'MIGRATION_STATE_SUCCEEDED' }
          : { code: UNDONE, state: 'MIGRATION_STATE_ABORTED' },
      );
      const [here, there] = code === 0 ? ['h2', 'h1'] : ['h1', 'h2'];
      await guest.runsOnlyOn(here);
      await guest.countsOn();
      await movesNow(guest, there);
    });
  });

  it('while the transfer goes on: its successor attaches to it, and can still call it off', async () => {
    const guest = await startGuest('h1', BUSY);
    const id = await beginMove(guest, 'h2', '--bandwidth', ENDLESS_TRANSFER);
    await transferring(id);
    const sentBefore = await sent(id);
    await withoutItsLeader(async () => {
      await until('the new leader shows the transfer', 30_000, async () => {
        const now = await sent(id);
        return now > sentBefore ? undefined : `it shows ${now} bytes; its predecessor showed ${sentBefore}`;
      });
      expect(await lockstep('migration', 'cancel', id)).toMatchObject({ code: 0 });
      expect(await watch(id)).toMatchObject({ code: UNDONE });
      await wasUndone(id, guest, 'CANCELLED');
      await movesNow(guest, 'h2');
    });
  });
});

async function sent(id: string): Promise<number> {
  return Number((await migrationOf(id)).progress?.memorySentBytes ?? 0);
}

describe("the target's agent is killed in mid-transfer", () => {
  it('undoes the migration, and the node takes the guest once the agent is back', async () => {
    const guest = await startGuest('h1', BUSY);
    const id = await beginMove(guest, 'h2', '--bandwidth', ENDLESS_TRANSFER);
    await transferring(id);
    const watched = watch(id);
    await killPart('h2', 'node-agent');
    await startPartAgain('h2', 'node-agent');
    const { code, stderr } = await watched;
    expect(code, stderr).toBe(UNDONE);
    expect(await migrationOf(id)).toMatchObject({ state: 'MIGRATION_STATE_ABORTED' });
    await guest.runsOnlyOn('h1');
    await guest.countsOn();
    await until('h2 is ready again', 60_000, async () => {
      const { node } = await shown<{ node: { ready?: boolean; notReadyReason?: string } }>('node', 'show', 'h2');
      return node.ready === true ? undefined : (node.notReadyReason ?? 'not ready');
    });
    await movesNow(guest, 'h2');
  });
});
