// SPDX-License-Identifier: Apache-2.0
import { VmState } from '@lockstep/sdk/v1';
import { expect, it } from 'vitest';
import { Desk } from './world/desk.js';

it('a guest that its user paused keeps its memory when it is asked to start on another node', async () => {
  const desk = new Desk();
  await desk.open();
  const vm = await desk.running('mine', 'n1');
  const host = desk.cluster.agents.find(({ name }) => name === 'n1')?.host;
  host?.pauseGuest(vm);
  await desk.pass(10_000);
  await expect(desk.ask((api) => api.startVm({ vm, node: 'n2' }))).rejects.toMatchObject({ reason: 'VM_RUNNING' });
  expect(host?.guest(vm)?.state).toEqual({ state: 'paused', reason: 'user' });
  host?.resumeGuest(vm);
  await desk.rest();
  expect(desk.cluster.guests.runningOn(vm)).toEqual(['n1']);
  expect((await desk.ask((api) => api.getVm({ vm }))).vm?.status?.state).toBe(VmState.RUNNING);
});
