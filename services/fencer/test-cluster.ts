// SPDX-License-Identifier: Apache-2.0
import type { FenceAction, FenceActionState } from '@lockstep/sdk/v1';
import { nodeCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { callContext, createWorld, type World } from '../membership/test-world.js';
import { createFencer, type Fencer, type FencerConfig } from './fencer.js';

export interface Setting extends World {
  replica: (name: string, config?: Partial<FencerConfig>, points?: (point: string) => Promise<void>) => Fencer;
  /** All actions, newest first. */
  actions: (fencer: Fencer) => Promise<FenceAction[]>;
  /** Advances until an action is in the state. */
  until: (fencer: Fencer, state: FenceActionState, limitMs?: number) => Promise<FenceAction>;
  fencedBy: (node: string) => Promise<string>;
  crash: (node: string) => Promise<void>;
  close: (...fencers: Fencer[]) => Promise<void>;
}

/** A cluster of such nodes, each with a BMC, that has been well for two minutes. */
export async function cluster(nodes: readonly string[], { bmcs = true, settle = 120_000 } = {}): Promise<Setting & { fencer: Fencer }> {
  const world = createWorld('acting');
  const { clock, server } = world;
  const replica: Setting['replica'] = (name, config = {}, points) => {
    const { env } = world.envOf(name, points === undefined ? {} : { points });
    const fencer = createFencer(env, { name, ...config });
    world.serveFencer(`${name}:7703`, fencer.implementation);
    fencer.start(`${name}:7703`);
    return fencer;
  };
  const actions = async (fencer: Fencer): Promise<FenceAction[]> => {
    const { fenceActions } = await fencer.implementation.listFenceActions({ pageSize: 0, pageToken: '' }, callContext());
    return (fenceActions ?? []) as FenceAction[];
  };
  const setting: Setting = {
    ...world,
    replica,
    actions,
    until: async (fencer, state, limitMs = 120_000) => {
      const endMs = clock.nowMs() + limitMs;
      for (;;) {
        const found = (await actions(fencer).catch(() => [])).find((action) => action.state === state);
        if (found !== undefined) return found;
        if (clock.nowMs() >= endMs) {
          throw new Error(`no action became ${String(state)}: ${JSON.stringify((await actions(fencer)).map(({ state: at, detail }) => [at, detail]))}`);
        }
        await clock.advance(250);
      }
    },
    fencedBy: async (node) => {
      const entry = await server.store('test').get(keys.node(node));
      return entry === undefined ? '' : nodeCodec.decode(entry.value, entry.index).fencedBy;
    },
    crash: async (node) => {
      await world.agent(node).turn('down');
      await world.agent(node).loseSession();
    },
    close: async (...fencers) => {
      const closing = Promise.all(fencers.map((fencer) => fencer.close()));
      await clock.advance(60_000);
      await closing;
    },
  };
  const fencer = replica('f1');
  await world.leadScheduler();
  for (const name of nodes) {
    await world.agent(name).join();
    if (bmcs) world.addBmc(name);
  }
  await clock.advance(settle);
  return { ...setting, fencer };
}
