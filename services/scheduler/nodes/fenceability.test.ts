// SPDX-License-Identifier: Apache-2.0
import { EventSeverity, Fenceability, Node } from '@lockstep/sdk/v1';
import { expect, it } from 'vitest';
import type { Happening } from '../../membership/events.js';
import type { NodeView } from '../../membership/node-streams.js';
import { tellFenceability } from './fenceability.js';

it('a change of whether a node can be fenced is an event, once; a start of its agent is none', () => {
  const told: Happening[] = [];
  let fenceability: Fenceability = Fenceability.UNKNOWN;
  let changed = (): void => undefined;
  const ended = new AbortController();
  const view = (): NodeView => ({
    name: 'h1',
    record: Node.create({ name: 'h1' }),
    recordIndex: 1n,
    session: undefined,
    report: { node: Node.create({ name: 'h1', fenceability, fenceabilityDetail: 'wrong password' }), vms: new Map() },
    lastMessageAtMs: 0,
    connected: true,
    trouble: '',
  });
  tellFenceability({
    nodes: {
      loaded: () => true,
      storeTroubleAtMs: () => undefined,
      nodes: () => [view()],
      node: () => view(),
      onChange: (listener) => {
        changed = listener;
        return () => {
          changed = () => undefined;
        };
      },
      done: Promise.resolve(),
    },
    events: {
      step: () => ({ op: 'delete', key: 'none' }),
      emit: (happening) => {
        told.push(happening);
        return Promise.resolve();
      },
    },
    term: { leaderEpoch: 1n, ended: ended.signal } as Parameters<typeof tellFenceability>[0]['term'],
  });
  const { FENCEABLE, NOT_FENCEABLE, UNKNOWN } = Fenceability;
  for (const next of [FENCEABLE, UNKNOWN, FENCEABLE, NOT_FENCEABLE, NOT_FENCEABLE, UNKNOWN, NOT_FENCEABLE, FENCEABLE]) {
    fenceability = next;
    changed();
  }
  expect(told).toMatchObject([
    { severity: EventSeverity.WARNING, reason: 'FENCEABILITY_CHANGED', message: 'fencing h1 would fail: wrong password', subject: 'nodes/h1' },
    { severity: EventSeverity.INFO, message: 'h1 can be powered off again' },
  ]);
  ended.abort();
  fenceability = NOT_FENCEABLE;
  changed();
  expect(told).toHaveLength(2);
});
