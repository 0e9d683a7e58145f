// SPDX-License-Identifier: Apache-2.0
import { Fenceability, type NodeEvidence } from '@lockstep/sdk/v1';
import { expect, it } from 'vitest';
import { callContext, createWorld } from '../membership/test-world.js';
import { createFencer } from './fencer.js';

const yes = { fenceability: Fenceability.FENCEABLE, detail: 'its BMC answers' };
const no = { fenceability: Fenceability.NOT_FENCEABLE, detail: 'wrong password' };

it("asks a node and two peers about its BMC, every few minutes and when it joins, and shows who says what", async () => {
  const world = createWorld('bmc rounds');
  const { clock, log } = world;
  const { env } = world.envOf('f1');
  const fencer = createFencer(env, { name: 'f1' });
  fencer.start('f1:7703');
  const names = ['h1', 'h2', 'h3', 'h4'];
  for (const name of names) {
    for (const node of names) world.agent(name).bmcs.set(node, yes);
    await world.agent(name).join();
  }
  const told = async (): Promise<NodeEvidence> => {
    const { evidence } = await fencer.implementation.getEvidence({ node: 'h3' }, callContext());
    return evidence as NodeEvidence;
  };
  await clock.advance(40_000);
  const first = await told();
  expect(first.fenceability).toBe(Fenceability.FENCEABLE);
  expect(first.fenceabilityChecks.map(({ observer }) => observer)).toEqual(['h3', 'h4', 'h1']);
  expect(first.fenceabilityDetail).toBe('h4 and h1: its BMC answers');

  world.agent('h4').bmcs.set('h3', no);
  await clock.advance(300_000);
  expect(await told()).toMatchObject({ fenceability: no.fenceability, fenceabilityDetail: 'h4: wrong password' });
  const warned = log.lines.filter(({ state }) => state === 'w').map(({ message }) => message);
  expect(warned).toContain('h3: fencing would fail: h4: wrong password');

  world.agent('h4').bmcs.set('h3', yes);
  await world.agent('h3').join();
  await clock.advance(10_000);
  expect((await told()).fenceability).toBe(Fenceability.FENCEABLE);

  const closing = fencer.close();
  await clock.advance(30_000);
  await closing;
});
