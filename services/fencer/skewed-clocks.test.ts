// SPDX-License-Identifier: Apache-2.0
import { FenceActionState, NodeJudgement, type NodeEvidence } from '@lockstep/sdk/v1';
import { expect, it } from 'vitest';
import { callContext, createWorld } from '../membership/test-world.js';
import { createFencer } from './fencer.js';

const DAY_MS = 24 * 3_600_000;
const NODES = ['h1', 'h2', 'h3'];

it('ancestor 15: skewed wall clocks that jump fence nobody, and hide no death', async () => {
  const world = createWorld('skewed clocks');
  const { clock } = world;
  const skew = { ms: 0 };
  const replica = (name: string) => {
    const { env } = world.envOf(name);
    // Monotonic time goes on evenly: the virtual clock's methods need their own object.
    const wrong = Object.assign(Object.create(clock) as typeof clock, {
      wallTime: () => new Date(clock.wallTime().getTime() + skew.ms),
    });
    const fencer = createFencer({ ...env, clock: wrong }, { name });
    world.serveFencer(`${name}:7703`, fencer.implementation);
    fencer.start(`${name}:7703`);
    return fencer;
  };
  const first = replica('f1');
  for (const node of NODES) {
    await world.agent(node).join();
    world.addBmc(node);
  }
  const judgements = async (fencer: typeof first): Promise<NodeJudgement[]> => {
    const { nodes } = await fencer.implementation.listEvidence({}, callContext());
    return ((nodes ?? []) as NodeEvidence[]).map(({ judgement }) => judgement);
  };
  const alive = NODES.map(() => NodeJudgement.ALIVE);
  await clock.advance(20_000);
  for (const ms of [365 * DAY_MS, -365 * DAY_MS, 40_000, -40_000, 0]) {
    skew.ms = ms;
    for (let second = 0; second < 40; second += 1) {
      await clock.advance(1_000);
      expect(await judgements(first)).toEqual(alive);
    }
  }
  skew.ms = -DAY_MS;
  const closing = first.close();
  await clock.advance(30_000);
  await closing;
  skew.ms = DAY_MS;
  const second = replica('f2');
  await clock.advance(20_000);
  expect(await judgements(second)).toEqual(alive);
  expect([...world.bmcs.values()].map(({ power }) => power)).toEqual(['on', 'on', 'on']);

  await world.agent('h1').turn('down');
  await world.agent('h1').loseSession();
  skew.ms = -365 * DAY_MS;
  await clock.advance(90_000);
  const { fenceActions } = await second.implementation.listFenceActions({ pageSize: 0, pageToken: '' }, callContext());
  expect(fenceActions).toMatchObject([{ node: 'h1', state: FenceActionState.CONFIRMED }]);
  const ending = second.close();
  await clock.advance(30_000);
  await ending;
});
