// SPDX-License-Identifier: Apache-2.0
import { FenceAction, FenceActionState } from '@lockstep/sdk/v1';
import { expect, it } from 'vitest';
import { createVirtualClock } from '../../platform/clock/virtual.js';
import { FenceJournal } from './journal.js';

it('who changes a fence action that has just ended is told of a conflict, and nothing is written', async () => {
  const ended = FenceAction.create({ id: 'f-1', state: FenceActionState.CONFIRMED });
  const leading = { env: { clock: createVirtualClock() }, actions: { get: () => ({ record: ended, index: 1n }) } };
  const journal = new FenceJournal(leading as unknown as ConstructorParameters<typeof FenceJournal>[0]);
  const change = journal.change('f-1', (action) => ({ ...action, state: FenceActionState.RUNNING }));
  await expect(change).rejects.toMatchObject({ reason: 'STORE_CONFLICT' });
});
