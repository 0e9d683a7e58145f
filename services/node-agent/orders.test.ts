// SPDX-License-Identifier: Apache-2.0
import { LeaderRole, type OrderHeader } from '@lockstep/sdk/v1';
import { expect, it } from 'vitest';
import { heardEpochOf } from '../membership/overtaken.js';
import { createMemoryState } from '../platform/state/memory.js';
import { DurableMemory } from './durable-memory.js';
import { OrderGuard } from './orders.js';

it('tells a leader that was overtaken which epoch it knows, so that the next term is above it', async () => {
  const guard = new OrderGuard(await DurableMemory.load(createMemoryState(), 'a'), () => 1n);
  const header = (leaderEpoch: bigint): OrderHeader => ({ leaderRole: LeaderRole.SCHEDULER, leaderEpoch, incarnation: 1n });
  await guard.order(header(7n));
  const refusal = await guard.order(header(3n)).catch((error: unknown) => error);
  expect(refusal).toMatchObject({ reason: 'STALE_EPOCH' });
  expect(heardEpochOf('scheduler', refusal)).toBe(7n);
});
