// SPDX-License-Identifier: Apache-2.0
import { Node } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import type { NodeView } from '../../membership/node-streams.js';
import { createVirtualClock } from '../../platform/clock/virtual.js';
import type { Leading } from '../term.js';
import { pauseUntilNews } from './proof.js';

const PAUSE_MS = 15_000;

function viewOf(change: { connected?: boolean; ready?: boolean; fencedBy?: string; incarnation?: bigint }): NodeView {
  const { connected = true, ready = true, fencedBy = '', incarnation = 1n } = change;
  return {
    name: 'a',
    record: Node.create({ name: 'a', fencedBy, incarnation }),
    recordIndex: 1n,
    session: 's',
    report: { node: Node.create({ ready }), vms: new Map() },
    lastMessageAtMs: 0,
    connected,
    trouble: '',
  };
}

/** How long it waits where the node is seen as `before`, and a second later as `after`. */
async function waitedMs(before: NodeView, after: NodeView): Promise<number> {
  const clock = createVirtualClock();
  const ended = new AbortController();
  const listeners = new Set<() => void>();
  let view = before;
  const nodes = {
    node: () => view,
    onChange: (listener: () => void) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
  };
  const leading = { env: { clock }, nodes, term: { ended: ended.signal } } as unknown as Leading;
  let endedAtMs = 0;
  const beganAtMs = clock.nowMs();
  const waiting = pauseUntilNews(leading, ['a'], PAUSE_MS).then(() => {
    endedAtMs = clock.nowMs();
  });
  await clock.advance(1_000);
  view = after;
  for (const listener of listeners) listener();
  await clock.advance(PAUSE_MS);
  await waiting;
  expect(listeners.size).toBe(0);
  return endedAtMs - beganAtMs;
}

describe('what waits for a host', () => {
  it.each([
    ['answers again', viewOf({ connected: false }), viewOf({})],
    ['has its hypervisor back', viewOf({ ready: false }), viewOf({})],
    ['has a new agent', viewOf({}), viewOf({ incarnation: 2n })],
    ['is proven off', viewOf({ connected: false }), viewOf({ connected: false, fencedBy: 'fence-1' })],
  ])('goes on at once when it %s', async (_what, before, after) => {
    expect(await waitedMs(before, after)).toBe(1_000);
  });

  it.each([
    ['nothing of it has changed', viewOf({}), viewOf({})],
    ['it has gone silent', viewOf({}), viewOf({ connected: false })],
    ['its hypervisor has gone', viewOf({}), viewOf({ ready: false })],
  ])('keeps its pause where %s', async (_what, before, after) => {
    expect(await waitedMs(before, after)).toBe(PAUSE_MS);
  });
});
