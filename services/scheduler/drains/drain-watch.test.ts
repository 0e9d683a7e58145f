// SPDX-License-Identifier: Apache-2.0
import { Drain, DrainState, Node, NodeMode } from '@lockstep/sdk/v1';
import { expect, it } from 'vitest';
import { drainCodec, migrationCodec, vmCodec } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import type { NodeView } from '../../membership/node-streams.js';
import { RecordCache } from '../../membership/record-cache.js';
import { createVirtualClock } from '../../platform/clock/virtual.js';
import { createMemoryLogger } from '../../platform/log/memory.js';
import type { Leading } from '../term.js';
import { DrainWatch } from './drain-watch.js';

it('a drain is not called off by a record of its node from before it was cordoned', async () => {
  const clock = createVirtualClock();
  const log = createMemoryLogger(() => clock.nowMs());
  const drains = new RecordCache(keys.drains, drainCodec, log);
  const view: NodeView = {
    ...{ name: 'n1', record: Node.create({ name: 'n1', mode: NodeMode.ACTIVE }), recordIndex: 41n, session: 's' },
    ...{ report: undefined, lastMessageAtMs: 0, connected: false, trouble: '' },
  };
  const ended = new AbortController();
  let index = 42n;
  const parts: Partial<Leading> = {
    env: { clock, log } as unknown as Leading['env'],
    term: { ended: ended.signal } as Leading['term'],
    ledger: {
      write: () => {
        index += 1n;
        return Promise.resolve(index);
      },
    },
    vms: new RecordCache(keys.vms, vmCodec, log),
    migrations: new RecordCache(keys.migrations, migrationCodec, log),
    drains,
    events: { step: () => ({ op: 'delete', key: 'event' }), emit: () => Promise.resolve() },
    nodes: { node: () => view, nodes: () => [view], onChange: () => () => undefined } as unknown as Leading['nodes'],
    cannotLeave: new Map(),
  };
  drains.put('d1', { record: Drain.create({ id: 'd1', node: 'n1', state: DrainState.PLANNED }), index });
  new DrainWatch(parts as Leading).start();
  const state = (): DrainState | undefined => drains.get('d1')?.record.state;
  await clock.advance(20_000);
  expect(state()).toBe(DrainState.PLANNED);
  view.record = Node.create({ name: 'n1', mode: NodeMode.CORDONED });
  view.recordIndex = 42n;
  await clock.advance(10_000);
  expect(state()).toBe(DrainState.RUNNING);
  // A person made it ready.
  view.record = Node.create({ name: 'n1', mode: NodeMode.ACTIVE });
  view.recordIndex = 45n;
  await clock.advance(10_000);
  expect(state()).toBe(DrainState.CANCELLED);
  ended.abort();
});
