// SPDX-License-Identifier: Apache-2.0
import { DisarmMode, NodeMode, VmDesired, type Vm } from '@lockstep/sdk/v1';
import { beforeEach, describe, expect, it } from 'vitest';
import { Desk } from './world/desk.js';
import { Operator } from './world/operator.js';

// VMs that are left to their owners, each by its own wish or all of them, and are moved by hand meanwhile.

const CALL = { deadlineMs: 10_000 };

let desk: Desk;

beforeEach(async () => {
  desk = new Desk({ fencers: 1 });
  await desk.open();
});

/** As people do it with the hypervisors' own tools. */
async function moveByHand(id: string, from: string, to: string): Promise<void> {
  const at = (name: string) => {
    const agent = desk.cluster.agents.find((each) => each.name === name);
    if (agent === undefined) throw new Error(`no ${name}`);
    return agent.host.hypervisor();
  };
  const xml = await at(from).xml(id, 'inactive', CALL);
  await at(from).destroy(id, CALL);
  await at(from).undefine(id, CALL);
  await at(to).define(xml, CALL);
  await at(to).start(id, CALL);
}

async function vmOf(id: string): Promise<Vm | undefined> {
  return (await desk.ask((api) => api.getVm({ vm: id }))).vm;
}

const wish = async (vm: string, desired: VmDesired): Promise<void> => {
  await desk.ask((api) => api.updateVm({ vm, desired }));
  await desk.pass(2_000);
};

const setArming = async (mode: DisarmMode | undefined): Promise<void> => {
  const operator = new Operator(desk.cluster);
  await desk.until(operator.fencer('arming', (api) => (mode === undefined ? api.arm({}) : api.disarm({ mode, reason: 'works by hand' }))));
  await desk.pass(2_000);
};

const leaves: [how: string, leave: (vm: string) => Promise<void>, takeUp: (vm: string) => Promise<unknown>][] = [
  ['by its owner', (vm) => wish(vm, VmDesired.UNMANAGED), (vm) => wish(vm, VmDesired.RUNNING)],
  ['by its owner, and is started again', (vm) => wish(vm, VmDesired.UNMANAGED), (vm) => desk.ask((api) => api.startVm({ vm }))],
  ['with all others (disarmed, ignore)', () => setArming(DisarmMode.IGNORE), () => setArming(undefined)],
];

describe.each(leaves)('a VM that is left alone %s', (_how, leave, takeUp) => {
  it('is not started again where it was, and belongs where it was moved once it is taken up', async () => {
    const vm = await desk.running('mine', 'n1');
    await leave(vm);
    await desk.until(moveByHand(vm, 'n1', 'n3'));
    await desk.pass(120_000);
    expect(desk.cluster.guests.runningOn(vm)).toEqual(['n3']);
    await takeUp(vm);
    await desk.rest();
    expect(desk.cluster.guests.runningOn(vm)).toEqual(['n3']);
    expect((await vmOf(vm))?.placement?.node).toBe('n3');
  });

  it('stays as it is through a new life of its agent and a new leader', async () => {
    const vm = await desk.running('mine', 'n1');
    await leave(vm);
    await desk.until(desk.cluster.agents[0]?.host.hypervisor().destroy(vm, CALL) ?? Promise.resolve());
    const agent = desk.cluster.agents[0];
    agent?.end('killed');
    await desk.pass(1_000);
    agent?.start();
    await desk.killLeader();
    await desk.pass(90_000);
    expect(desk.cluster.guests.runningOn(vm)).toEqual([]);
    await takeUp(vm);
    await desk.rest();
    expect(desk.cluster.guests.runningOn(vm)).toEqual(['n1']);
  });

  it('is not started on its node while it may run where nobody can be asked', async () => {
    const vm = await desk.running('mine', 'n1');
    await leave(vm);
    await desk.until(moveByHand(vm, 'n1', 'n3'));
    desk.cluster.agents[2]?.end('killed');
    await desk.pass(30_000);
    await takeUp(vm);
    await desk.pass(60_000);
    expect(desk.cluster.guests.runningOn(vm)).toEqual(['n3']);
    expect((await vmOf(vm))?.status).toMatchObject({ reason: 'NODE_UNREACHABLE', detail: expect.stringContaining('n3') as string });
    desk.cluster.agents[2]?.start();
    await desk.rest();
    expect((await vmOf(vm))?.placement?.node).toBe('n3');
  });
});

it('while all VMs are left alone, maintenance moves none', async () => {
  const vm = await desk.running('mine', 'n1');
  await setArming(DisarmMode.IGNORE);
  await desk.ask((api) => api.setMaintenance({ node: 'n1', enabled: true }));
  await desk.pass(60_000);
  expect(desk.cluster.guests.runningOn(vm)).toEqual(['n1']);
  await setArming(undefined);
  await desk.see('it leaves', () => !desk.cluster.guests.runningOn(vm).includes('n1'));
  await desk.rest();
  expect(desk.cluster.records.nodes.get('n1')?.mode).toBe(NodeMode.MAINTENANCE);
});

it('what is adopted while another host is silent was left to nobody, and starts at once', async () => {
  const id = '5b1f3c1e-0000-4000-8000-00000000000b';
  const xml = `<domain type='kvm'><name>stray</name><uuid>${id}</uuid><memory unit='GiB'>1</memory><vcpu>1</vcpu></domain>`;
  const defined = desk.cluster.agents[0]?.host.hypervisor().define(xml, CALL);
  await desk.until(Promise.resolve(defined));
  desk.cluster.agents[2]?.end('killed');
  await desk.pass(30_000);
  await desk.ask((api) => api.adoptVm({ vmId: id, node: 'n1' }));
  await desk.ask((api) => api.startVm({ vm: id }));
  await desk.pass(10_000);
  expect(desk.cluster.guests.runningOn(id)).toEqual(['n1']);
});
