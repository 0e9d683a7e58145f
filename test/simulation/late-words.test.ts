// SPDX-License-Identifier: Apache-2.0
import { LeaderRole, MigrationMode, MigrationState, VmDesired } from '@lockstep/sdk/v1';
import type { LockstepError } from '@lockstep/services/core/errors/catalogue.js';
import { beforeEach, expect, it } from 'vitest';
import { Desk } from './world/desk.js';

// Words between leader and agent that come late, twice or not at all, and cost nobody anything.

let desk: Desk;

beforeEach(async () => {
  desk = new Desk();
  await desk.open();
});

async function move(vm: string, targetNode: string): Promise<() => MigrationState> {
  const { migration } = await desk.ask((api) => api.createMigration({ vm, targetNode, mode: MigrationMode.LIVE_ONLY }));
  return () => desk.migration(migration?.id ?? '')?.state ?? MigrationState.UNSPECIFIED;
}

/** So slow that each state of a migration can be seen. */
function slowly(slow: boolean): void {
  const { network } = desk.cluster;
  network.illness = { ...network.illness, slow: slow ? 1 : 0, slowMs: 400 };
}

const hasEnded = (state: MigrationState): boolean => state === MigrationState.SUCCEEDED || state === MigrationState.ABORTED;

it('a connection that turns out to be broken when an agent is asked for its vote costs nobody the move', async () => {
  const vm = await desk.running('mine', 'n1');
  const { agents, network, guests } = desk.cluster;
  const leader = desk.leader();
  slowly(true);
  const stateOf = await move(vm, 'n2');
  await desk.see('votes are asked for', () => stateOf() === MigrationState.PREPARING);
  for (let step = 0; step < 10; step += 1) {
    for (const { site } of agents) network.breakBetween(leader?.site ?? '', site, 'it was cut for too long');
    await desk.pass(50);
  }
  slowly(false);
  await desk.see('an end', () => hasEnded(stateOf()));
  expect(stateOf()).toBe(MigrationState.SUCCEEDED);
  await desk.rest();
  expect(guests.runningOn(vm)).toEqual(['n2']);
});

it('a wish that arrives after a later one is refused: what was stopped stays stopped', async () => {
  const vm = await desk.running('mine', 'n1');
  const { cluster } = desk;
  const agent = cluster.agents.find(({ name }) => name === 'n1');
  const wish = (desired: VmDesired, sequence: bigint) =>
    desk.until(
      cluster.rpc.peers(desk.life).agent(agent?.address ?? '').applyVm({
        header: { leaderRole: LeaderRole.SCHEDULER, leaderEpoch: 1n, incarnation: 1n },
        order: { vmId: vm, placementEpoch: 1n, migrationId: '' },
        desired,
        sequence,
      }),
    );
  await wish(VmDesired.STOPPED, 1_000n);
  await expect(wish(VmDesired.RUNNING, 999n)).rejects.toMatchObject({ reason: 'STALE_ORDER' });
  await desk.see('it stops', () => cluster.guests.runningOn(vm).length === 0);
  await wish(VmDesired.RUNNING, 1_001n);
  await desk.see('it runs', () => cluster.guests.runningOn(vm).includes('n1'));
});

it('a guest may move on although its node was not told yet that the move which brought it is over', async () => {
  const vm = await desk.running('mine', 'n1');
  const target = desk.cluster.agents.find(({ name }) => name === 'n2');
  slowly(true);
  const arrives = await move(vm, 'n2');
  await desk.see('the old copy is let go', () => arrives() === MigrationState.COMMITTING);
  target?.host.killDaemon();
  slowly(false);
  await desk.see('an end', () => hasEnded(arrives()));
  await desk.pass(200);
  target?.host.startDaemon();
  const movesOn = await move(vm, 'n3');
  await desk.see('an end', () => hasEnded(movesOn()));
  expect(movesOn()).toBe(MigrationState.SUCCEEDED);
  await desk.rest();
  expect(desk.cluster.guests.runningOn(vm)).toEqual(['n3']);
});

it('a move that was called off can be asked for again at once, before its node has told that it is over', async () => {
  const vm = await desk.running('mine', 'n1', { memoryMib: 4_096, simulated: 'resident="4GiB"' });
  const stateOf = await move(vm, 'n2');
  await desk.see('memory goes over', () => stateOf() === MigrationState.TRANSFERRING);
  await desk.pass(200);
  slowly(true);
  const open = desk.cluster.records.open()[0];
  await desk.ask((api) => api.cancelMigration({ id: open?.id ?? '' }));
  const again = async (): Promise<string> =>
    await desk.ask((api) => api.createMigration({ vm, targetNode: 'n2' })).then(() => 'taken', (error: unknown) => (error as LockstepError).reason);
  let answer = await again();
  for (let tries = 0; answer === 'VM_LOCKED' && tries < 200; tries += 1) answer = await again();
  expect(answer).toBe('taken');
  slowly(false);
  await desk.rest();
  expect(desk.cluster.guests.runningOn(vm)).toEqual(['n2']);
});
