// SPDX-License-Identifier: Apache-2.0
import { MigrationMode, MigrationState, VmState, type Migration } from '@lockstep/sdk/v1';
import { beforeEach, describe, expect, it } from 'vitest';
import { Desk } from './world/desk.js';

// What went wrong in the system before this one, each designed out: here it would show.

const LINK = 100 * 2 ** 20;
/** Takes some ten seconds over the link. */
const LARGE = { memoryMib: 2048, simulated: 'resident="1GiB" dirty-rate="1MiB" shutdown-ms="500"' };

let desk: Desk;
let count = 0;

beforeEach(async () => {
  desk = new Desk({ linkBytesPerSecond: LINK });
  await desk.open();
});

async function ask(vm: string, targetNode: string, mode = MigrationMode.LIVE_ONLY): Promise<Migration> {
  const requestId = `ancestor-${String((count += 1))}`;
  const { migration } = await desk.ask((api) => api.createMigration({ vm, targetNode, mode, requestId }));
  if (migration === undefined) throw new Error('no migration in the answer');
  return migration;
}

async function ended({ id }: Migration): Promise<Migration> {
  await desk.see(`the end of ${id}`, () => desk.migration(id)?.endTime !== undefined, 900_000);
  const record = desk.migration(id);
  if (record === undefined) throw new Error('its record is gone');
  return record;
}

async function inState({ id }: Migration, state: MigrationState): Promise<void> {
  await desk.see(`${id} in state ${String(state)}`, () => desk.migration(id)?.state === state, 300_000);
}

async function refusal(call: Promise<unknown>): Promise<unknown> {
  return await call.then(
    () => undefined,
    (error: unknown) => error,
  );
}

describe('ancestor', () => {
  it('1: a wish that comes while another action runs is not lost', async () => {
    const vm = await desk.running('wished', 'n1', LARGE);
    const migration = await ask(vm, 'n2', MigrationMode.SHUTDOWN);
    await inState(migration, MigrationState.SHUTTING_DOWN);
    await desk.ask((api) => api.stopVm({ vm }));
    await ended(migration);
    await desk.rest();
    expect(desk.cluster.guests.runningOn(vm)).toEqual([]);
    await desk.ask((api) => api.startVm({ vm }));
    await desk.rest();
    expect(desk.cluster.guests.runningOn(vm)).toHaveLength(1);
  });

  it('2: two migrations at once do not meet', async () => {
    const [left, right] = [await desk.running('left', 'n1', LARGE), await desk.running('right', 'n2', LARGE)];
    const moves = [await ask(left, 'n2'), await ask(right, 'n1')];
    await Promise.all(moves.map((one) => inState(one, MigrationState.TRANSFERRING)));
    expect(desk.cluster.records.open()).toHaveLength(2);
    const ends: Migration[] = [];
    for (const one of moves) ends.push(await ended(one));
    expect(ends.map(({ state }) => state)).toEqual([MigrationState.SUCCEEDED, MigrationState.SUCCEEDED]);
    await desk.rest();
    expect([desk.cluster.guests.runningOn(left), desk.cluster.guests.runningOn(right)]).toEqual([['n2'], ['n1']]);
  });

  it('3: a peer that stands still hangs no VM for ever, and no other migration at all', async () => {
    const [stuck, free] = [await desk.running('stuck', 'n1'), await desk.running('free', 'n1')];
    const target = desk.cluster.agents[1];
    desk.cluster.onPoint = (process, life, point) => {
      if (process === target && point === 'agent/prepare-target/armed') life.pause();
    };
    const first = await ask(stuck, 'n2');
    await desk.see('its target stands still', () => target?.life?.paused === true);
    const second = await ask(free, 'n3');
    expect((await ended(second)).state).toBe(MigrationState.SUCCEEDED);
    await inState(first, MigrationState.UNCERTAIN);
    expect(desk.cluster.guests.runningOn(stuck)).toEqual(['n1']);
    desk.cluster.onPoint = () => undefined;
    target?.life?.goOn();
    expect((await ended(first)).state).toBe(MigrationState.ABORTED);
    await desk.rest();
  });

  it('5: an abort after the second phase leaves no lock, and a target no guest that it waits for', async () => {
    const vm = await desk.running('again', 'n1', LARGE);
    for (const where of ['scheduler/journal/prepared', 'scheduler/sending'] as const) {
      let cancelled: Promise<unknown> | undefined;
      desk.cluster.onPoint = (_process, _life, point) => {
        const id = desk.cluster.records.open()[0]?.id;
        if (point === where && id !== undefined) cancelled ??= desk.anyone().cancelMigration({ id });
      };
      const migration = await ask(vm, 'n2');
      await desk.see(`a cancel at ${where}`, () => cancelled !== undefined);
      await desk.until(cancelled ?? Promise.resolve());
      expect(await ended(migration)).toMatchObject({ state: MigrationState.ABORTED, reason: 'CANCELLED' });
      // Looks at both ends' notes, definitions and locks.
      await desk.rest();
    }
    expect((await ended(await ask(vm, 'n2'))).state).toBe(MigrationState.SUCCEEDED);
  });

  it('6: who waits is told how the migration itself ended, not that a state has changed', async () => {
    const vm = await desk.running('watched', 'n1', LARGE);
    const migration = await ask(vm, 'n2');
    await inState(migration, MigrationState.TRANSFERRING);
    await desk.ask((api) => api.cancelMigration({ id: migration.id }));
    const last = await desk.until(
      (async () => {
        let seen: Migration | undefined;
        for await (const { changed } of desk.anyone().watchMigrations({ id: migration.id })) seen = changed.at(-1) ?? seen;
        return seen;
      })(),
    );
    expect(last).toMatchObject({ state: MigrationState.ABORTED, reason: 'CANCELLED' });
    await desk.ask((api) => api.stopVm({ vm }));
    await desk.pass(20_000);
    // A VM that does not run is refused at once where it was waited for without end.
    expect(await refusal(ask(vm, 'n2'))).toMatchObject({ reason: 'VM_NOT_RUNNING' });
  });

  it('7: a target that is named must be alive and ready', async () => {
    const vm = await desk.running('careful', 'n1');
    desk.cluster.agents[1]?.losePower();
    await desk.pass(60_000);
    expect(await refusal(ask(vm, 'n2'))).toMatchObject({ reason: 'NODE_NOT_READY' });
    expect(await refusal(ask(vm, 'nowhere'))).toMatchObject({ reason: 'NODE_NOT_FOUND' });
    expect(desk.cluster.guests.runningOn(vm)).toEqual(['n1']);
    expect(desk.cluster.records.open()).toEqual([]);
  });

  it('8: a VM that moves live, enforced, shows as what it is wherever VMs are listed', async () => {
    const vm = await desk.running('enforced', 'n1', LARGE);
    const migration = await ask(vm, 'n2', MigrationMode.LIVE_ONLY);
    await inState(migration, MigrationState.TRANSFERRING);
    const { vms } = await desk.ask((api) => api.listVms({}));
    expect(vms.map(({ status }) => status?.state)).toEqual([VmState.MIGRATING_LIVE]);
    const { vm: shown } = await desk.ask((api) => api.getVm({ vm }));
    expect(shown?.status?.state).toBe(VmState.MIGRATING_LIVE);
    expect((await ended(migration)).state).toBe(MigrationState.SUCCEEDED);
  });

  it('9: a VM that is asked to move to where it is stays there, with its memory', async () => {
    const vm = await desk.running('stays', 'n1');
    const ranMs = desk.cluster.agents[0]?.host.guest(vm)?.memory().ranMs ?? 0;
    expect(await refusal(ask(vm, 'n1', MigrationMode.LIVE_OR_SHUTDOWN))).toMatchObject({ reason: 'SAME_NODE' });
    await desk.pass(10_000);
    expect(desk.cluster.agents[0]?.host.guest(vm)?.memory().ranMs).toBeGreaterThan(ranMs);
    expect(desk.cluster.guests.runningOn(vm)).toEqual(['n1']);
  });

  it('14: a VM whose best node is its own is moved elsewhere or left alone, never shut down', async () => {
    const vm = await desk.running('content', 'n1');
    const ranMs = desk.cluster.agents[0]?.host.guest(vm)?.memory().ranMs ?? 0;
    const { migration } = await desk.ask((api) => api.createMigration({ vm, requestId: 'anywhere' }));
    expect(migration?.targetNode).not.toBe('n1');
    const end = await ended(migration ?? (await ask(vm, 'n2')));
    expect(end).toMatchObject({ state: MigrationState.SUCCEEDED, modeUsed: MigrationMode.LIVE_ONLY });
    const host = desk.cluster.agents.find(({ name }) => name === end.targetNode)?.host;
    expect(host?.guest(vm)?.memory().ranMs).toBeGreaterThan(ranMs);
  });
});

describe('a store that has no leader for 30 s in the middle of a transfer', () => {
  it('lets the transfer end: the guest is committed or sent back, with its memory and in one place', async () => {
    const vm = await desk.running('steady', 'n1', LARGE);
    const migration = await ask(vm, 'n2');
    await inState(migration, MigrationState.TRANSFERRING);
    await desk.pass(2_000);
    const { store } = desk.cluster;
    store.illness = { ...store.illness, down: true };
    await desk.pass(30_000);
    expect(desk.cluster.guests.runningOn(vm)).toHaveLength(1);
    store.illness = { ...store.illness, down: false };
    const end = await ended(migration);
    expect([MigrationState.SUCCEEDED, MigrationState.ABORTED]).toContain(end.state);
    await desk.rest();
    const where = end.state === MigrationState.SUCCEEDED ? 'n2' : 'n1';
    expect(desk.cluster.guests.runningOn(vm)).toEqual([where]);
    // It was never started again: a guest that begins anew has run for less long than this.
    const host = desk.cluster.agents.find(({ name }) => name === where)?.host;
    expect(host?.guest(vm)?.memory().ranMs).toBeGreaterThan(25_000);
  });
});
