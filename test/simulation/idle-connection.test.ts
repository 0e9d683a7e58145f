// SPDX-License-Identifier: Apache-2.0
import { MigrationMode, MigrationState } from '@lockstep/sdk/v1';
import { expect, it } from 'vitest';
import { Desk } from './world/desk.js';

it('a connection that turns out to be broken when an agent is asked for its vote costs nobody the move', async () => {
  const desk = new Desk();
  await desk.open();
  const vm = await desk.running('mine', 'n1');
  const { agents, network } = desk.cluster;
  const leader = desk.leader();
  // So slow that there is a moment in between.
  network.illness = { ...network.illness, slow: 1, slowMs: 400 };
  const { migration } = await desk.ask((api) => api.createMigration({ vm, targetNode: 'n2', mode: MigrationMode.LIVE_ONLY }));
  const stateOf = (): MigrationState => desk.migration(migration?.id ?? '')?.state ?? MigrationState.UNSPECIFIED;
  await desk.see('votes are asked for', () => stateOf() === MigrationState.PREPARING);
  for (let step = 0; step < 10; step += 1) {
    for (const { site } of agents) network.breakBetween(leader?.site ?? '', site, 'it was cut for too long');
    await desk.pass(50);
  }
  network.illness = { ...network.illness, slow: 0 };
  await desk.see('an end', () => stateOf() === MigrationState.SUCCEEDED || stateOf() === MigrationState.ABORTED);
  expect(stateOf()).toBe(MigrationState.SUCCEEDED);
  await desk.rest();
  expect(desk.cluster.guests.runningOn(vm)).toEqual(['n2']);
});
