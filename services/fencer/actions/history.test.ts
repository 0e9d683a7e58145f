// SPDX-License-Identifier: Apache-2.0
import { FenceAction, FenceActionState, WatchFenceActionsResponse } from '@lockstep/sdk/v1';
import { expect, it } from 'vitest';
import { fenceActionCodec } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { callContext } from '../../membership/test-world.js';
import type { Fencer } from '../fencer.js';
import { cluster } from '../test-cluster.js';

const S = FenceActionState;
const DAY_MS = 24 * 3_600_000;

/** The first message of a watch that begins there. */
async function firstOf(fencer: Fencer, resumeToken: string): Promise<WatchFenceActionsResponse> {
  for await (const message of fencer.implementation.watchFenceActions({ resumeToken }, callContext())) {
    return WatchFenceActionsResponse.fromPartial(message);
  }
  throw new Error('the watch ended');
}

/** All that a watch tells as gone until it is let go of. */
async function goneOf(fencer: Fencer, signal: AbortSignal): Promise<string[]> {
  const gone: string[] = [];
  for await (const message of fencer.implementation.watchFenceActions({ resumeToken: '' }, callContext({ signal }))) {
    gone.push(...WatchFenceActionsResponse.fromPartial(message).gone);
  }
  return gone;
}

it('old actions go; the proof that a node is off, and what is open, stay however old they are', async () => {
  const { clock, server, fencer, actions, crash, until, fencedBy, close } = await cluster(['h1', 'h2', 'h3']);
  await crash('h1');
  const proof = await until(fencer, S.CONFIRMED);
  await crash('h2');
  const open = await until(fencer, S.HELD);
  const store = server.store('test');
  await clock.advance(1_000);
  const { resumeToken } = await firstOf(fencer, '');
  const proofOf = (id: string, node: string, incarnation: bigint, more: Partial<FenceAction> = {}): FenceAction =>
    FenceAction.create({ id, node, incarnation, state: S.CONFIRMED, endTime: clock.wallTime(), ...more });
  // As after many years: all of these are newer than those two, by their ids.
  for (let number = 0; number < 210; number += 1) {
    const id = `ffff${String(number).padStart(6, '0')}`;
    const old = proofOf(id, 'h3', 0n, number === 209 ? { requestId: 'gone', endTime: new Date(clock.wallTime().getTime() - 91 * DAY_MS) } : {});
    await store.txn([{ op: 'set', key: keys.fenceAction(id), value: fenceActionCodec.encode(old) }]);
  }
  await store.txn([{ op: 'set', key: keys.request('gone'), value: keys.fenceAction('ffff000209') }]);
  const watched = new AbortController();
  const gone = goneOf(fencer, watched.signal);
  await clock.advance(180_000);
  const left = await actions(fencer);
  expect(left).toHaveLength(199 + 2);
  expect(left.map(({ id }) => id)).toEqual(expect.arrayContaining([proof.id, open.id, 'ffff000208']));
  expect(left.map(({ id }) => id)).not.toContain('ffff000209');
  expect(await fencedBy('h1')).toBe(proof.id);
  expect(await store.get(keys.request('gone'))).toBeUndefined();

  // Who watches is told of what went, as nothing else would ever say so.
  watched.abort();
  await clock.advance(10_000);
  expect(await gone).toEqual(expect.arrayContaining(['ffff000000', 'ffff000209']));
  expect(await gone).not.toContain(proof.id);

  await expect(firstOf(fencer, resumeToken)).rejects.toMatchObject({ reason: 'RESUME_TOKEN_EXPIRED' });
  await close(fencer);
});
