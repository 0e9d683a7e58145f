// SPDX-License-Identifier: Apache-2.0
import { Fenceability, NodeConditionType } from '@lockstep/sdk/v1';
import { expect, it } from 'vitest';
import { createSimulatedBmc, type SimulatedBmc } from '../platform/power/simulated.js';
import { call, TestBed, type TestNode } from './test-bed.js';

const CHECK_EVERY_MS = 300_000;

/** A node that has joined, with a BMC of its own; `restart` gives its agent another start. */
async function nodeWithBmc(bed: TestBed, name: string): Promise<{ node: TestNode; bmc: SimulatedBmc }> {
  const node = await bed.node(name);
  const bmc = createSimulatedBmc({ clock: bed.clock, name, guid: node.host.info.hostUuid });
  bed.bmcs.set(name, bmc);
  return { node, bmc };
}

async function startAgain(bed: TestBed, node: TestNode): Promise<void> {
  await node.kill();
  await node.restart();
  await bed.clock.advance(10_000);
}

const shown = async (node: TestNode) => {
  const { node: told } = await node.service.getNode({ header: undefined, node: '' } as never, call());
  if (told === undefined) throw new Error('it says nothing of itself');
  const condition = told.conditions?.find(({ type }) => type === NodeConditionType.BMC_NOT_FENCEABLE);
  return { fenceability: told.fenceability, detail: told.fenceabilityDetail, condition: condition?.detail };
};

const ask = async (bed: TestBed, observer: TestNode, node: string) =>
  bed.run(Promise.resolve(observer.service.checkBmc({ node } as never, call())));

const warnings = ({ log }: TestNode) =>
  log.lines.filter(({ state, message }) => state === 'w' && message.includes('fencing')).map(({ message }) => message);

it('shows that its node can be fenced', async () => {
  const bed = new TestBed();
  const { node } = await nodeWithBmc(bed, 'h1');
  await startAgain(bed, node);
  expect(await shown(node)).toMatchObject({ fenceability: Fenceability.FENCEABLE, condition: undefined });
  expect(warnings(node)).toEqual([]);
});

it('warns at its start that fencing would fail, once, and again only with news', async () => {
  const bed = new TestBed();
  const { node, bmc } = await nodeWithBmc(bed, 'h1');
  bmc.mode = 'wrong-password';
  await startAgain(bed, node);
  expect(await shown(node)).toMatchObject({
    fenceability: Fenceability.NOT_FENCEABLE,
    condition: 'the BMC at h1/bmc does not accept user and password',
  });
  await bed.clock.advance(CHECK_EVERY_MS * 3);
  expect(warnings(node)).toEqual(['fencing this node would fail']);
  bmc.mode = 'up';
  await bed.clock.advance(CHECK_EVERY_MS);
  expect(await shown(node)).toMatchObject({ fenceability: Fenceability.FENCEABLE, condition: undefined });
});

it('does not know of a node without a BMC, and says so', async () => {
  const bed = new TestBed();
  const node = await bed.node('h1');
  expect(await shown(node)).toMatchObject({ fenceability: Fenceability.UNKNOWN, condition: undefined });
  expect((await shown(node)).detail).toBe('no BMC is configured for it: nothing can power it off');
});

it("finds what is wrong with a peer's BMC", async () => {
  const bed = new TestBed();
  const { node: h1, bmc } = await nodeWithBmc(bed, 'h1');
  const { node: h2 } = await nodeWithBmc(bed, 'h2');
  await bed.clock.advance(10_000);
  expect((await ask(bed, h2, 'h1')).fenceability).toBe(Fenceability.FENCEABLE);
  bmc.ownGuid = h2.host.info.hostUuid.replaceAll('-', '');
  expect((await ask(bed, h2, 'h1')).detail).toContain('its BMC is that of h2');
  bmc.ownGuid = h1.host.info.hostUuid.replaceAll('-', '');
  bmc.power = 'off';
  expect((await ask(bed, h2, 'h1')).detail).toContain('the power is off, and the node is up');
  expect((await ask(bed, h2, 'h9')).fenceability).toBe(Fenceability.UNKNOWN);
});

it('is not held up by a BMC that never answers, and asks it once for all who wait', async () => {
  const bed = new TestBed();
  const { node, bmc } = await nodeWithBmc(bed, 'h1');
  await bed.clock.advance(10_000);
  bmc.mode = 'hung';
  let asked = 0;
  const privilege = bmc.privilege.bind(bmc);
  bmc.privilege = (limit) => {
    asked += 1;
    return privilege(limit);
  };
  const findings = await bed.run(Promise.all([1, 2, 3].map(() => ask(bed, node, 'h1'))));
  expect(asked).toBe(1);
  for (const { fenceability, detail } of findings) {
    expect(fenceability).toBe(Fenceability.NOT_FENCEABLE);
    expect(detail).toContain('no answer within');
  }
});
