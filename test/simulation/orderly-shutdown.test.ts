// SPDX-License-Identifier: Apache-2.0
import { ShutdownPolicy, VmState } from '@lockstep/sdk/v1';
import { beforeEach, describe, expect, it } from 'vitest';
import { Desk } from './world/desk.js';
import type { AgentProcess } from './world/machine.js';

let desk: Desk;

beforeEach(async () => {
  desk = new Desk({ nodes: 4, fencers: 2, faults: ['fencing'] });
  await desk.open();
  // A node's BMC and its steadiness are known by then.
  await desk.pass(90_000);
});

function agent(name: string): AgentProcess {
  const found = desk.cluster.agents.find((each) => each.name === name);
  if (found === undefined) throw new Error(`no ${name}`);
  return found;
}

const fenced = (node: string): boolean => (desk.cluster.records.nodes.get(node)?.fencedBy ?? '') !== '';

describe('a host that goes down in order', () => {
  it('is proven off once its power is, and holds up no recovery from hosts that die', async () => {
    const [moves, dies] = [await desk.running('moves', 'n4'), await desk.running('dies', 'n3')];
    await desk.until(agent('n4').shutDown('shutdown'));
    await desk.see('n4 is proven off', () => fenced('n4'));
    await desk.see('its VM runs elsewhere', () => desk.cluster.guests.runningOn(moves).some((node) => node !== 'n4'));
    expect(agent('n4').powered).toBe(false);
    agent('n3').losePower();
    await desk.see('n3 is proven off', () => fenced('n3'));
    await desk.see('what died with it runs elsewhere', () => desk.cluster.guests.runningOn(dies).length === 1);
    for (const name of ['n3', 'n4']) {
      agent(name).gainPower();
      agent(name).start();
    }
    await desk.rest();
    expect([fenced('n3'), fenced('n4')]).toEqual([false, false]);
  });

  it('is not proven off where its VMs are to wait for it, however long that takes', async () => {
    await desk.ask((api) => api.updateOptions({ options: { shutdownPolicy: ShutdownPolicy.FREEZE } }));
    const vm = await desk.running('waits', 'n4');
    await desk.until(agent('n4').shutDown('shutdown'));
    await desk.pass(400_000);
    expect(fenced('n4')).toBe(false);
    expect((await desk.ask((api) => api.getVm({ vm }))).vm?.status?.state).toBe(VmState.FROZEN);
    agent('n4').gainPower();
    agent('n4').start();
    await desk.rest();
    expect(desk.cluster.guests.runningOn(vm)).toEqual(['n4']);
  });

  it('says of a VM that stands already what it waits for, while its host still waits for others', async () => {
    const stands = await desk.running('stands', 'n4');
    await desk.running('lingers', 'n4', { simulated: 'shutdown="ignored"' });
    void agent('n4').shutDown('reboot');
    await desk.see('the first stands', () => desk.cluster.guests.runningOn(stands).length === 0);
    await desk.pass(2_000);
    const { vm } = await desk.ask((api) => api.getVm({ vm: stands }));
    expect(vm?.status).toMatchObject({ state: VmState.STOPPED, reason: 'NODE_LEAVING' });
  });
});
