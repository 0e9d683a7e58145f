// SPDX-License-Identifier: Apache-2.0
import { VmState } from '@lockstep/sdk/v1';
import { expect, it } from 'vitest';
import { Desk } from './world/desk.js';

// The store's servers run on the three hosts: who sees two of them vanish has lost the quorum with them, and cannot tell
// whether they died or itself is cut off.

it('two of three hosts lost at once: nobody is fenced by the minority, and what runs there runs on in one place', async () => {
  const desk = new Desk({ nodes: 3, fencers: 2, faults: ['fencing'] });
  await desk.open();
  // A node's BMC and its steadiness are known by then.
  await desk.pass(90_000);
  const { agents, replicas, network, store, records, guests } = desk.cluster;
  const vms = [await desk.running('first', 'n1'), await desk.running('second', 'n2'), await desk.running('left', 'n3')];
  const lost = agents.filter(({ name }) => name !== 'n3');
  const others = [...new Set([...agents, ...replicas].map(({ site }) => site))].filter((site) => lost.every((one) => one.site !== site));
  for (const { site } of lost) {
    for (const other of others) {
      network.cut(site, other);
      network.cut(other, site);
    }
  }
  store.illness = { ...store.illness, down: true };
  await desk.pass(400_000);
  expect(agents.map(({ powered }) => powered)).toEqual([true, true, true]);
  expect([...records.nodes.values()].map(({ fencedBy }) => fencedBy)).toEqual(['', '', '']);
  expect(vms.map((vm) => guests.runningOn(vm))).toEqual([['n1'], ['n2'], ['n3']]);

  network.healAll();
  store.illness = { ...store.illness, down: false };
  await desk.rest();
  expect(agents.map(({ powered }) => powered)).toEqual([true, true, true]);
  for (const vm of vms) expect((await desk.ask((api) => api.getVm({ vm }))).vm?.status?.state).toBe(VmState.RUNNING);
  expect(vms.map((vm) => guests.runningOn(vm))).toEqual([['n1'], ['n2'], ['n3']]);
});
