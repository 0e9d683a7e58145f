// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { createVirtualClock } from '../platform/clock/virtual.js';
import { Openings, type Leave } from './openings.js';

const LIMITS = { atOnce: 2, holdsForMs: 500 };

function openings() {
  const clock = createVirtualClock();
  const bound = new Openings(clock, LIMITS);
  const entered: string[] = [];
  const leaves = new Map<string, Leave>();
  const ask = (name: string, { failedBefore = false, signal = new AbortController().signal } = {}): void => {
    void bound.enter(signal, failedBefore).then(
      (leave) => {
        entered.push(name);
        leaves.set(name, leave);
      },
      () => entered.push(`${name} left the queue`),
    );
  };
  return { clock, ask, entered, leave: (name: string) => leaves.get(name)?.() };
}

describe('the bound on what is opened at a time', () => {
  it('lets so many in, and the others in the order in which they asked', async () => {
    const { clock, ask, entered, leave } = openings();
    for (const name of ['a', 'b', 'c', 'd']) ask(name);
    await clock.settle();
    expect(entered).toEqual(['a', 'b']);
    leave('b');
    leave('b');
    await clock.settle();
    expect(entered).toEqual(['a', 'b', 'c']);
    leave('a');
    await clock.settle();
    expect(entered).toEqual(['a', 'b', 'c', 'd']);
  });

  it('lets what was not tried yet in before what failed a moment ago', async () => {
    const { clock, ask, entered, leave } = openings();
    for (const name of ['a', 'b']) ask(name);
    for (const name of ['gone 1', 'gone 2']) ask(name, { failedBefore: true });
    ask('new');
    leave('a');
    await clock.settle();
    leave('a');
    await clock.settle();
    expect(entered).toEqual(['a', 'b', 'new']);
    leave('b');
    await clock.settle();
    expect(entered).toEqual(['a', 'b', 'new', 'gone 1']);
  });

  it('is not held up by what never answers', async () => {
    const { clock, ask, entered } = openings();
    for (const name of ['dead 1', 'dead 2', 'alive']) ask(name);
    await clock.advance(LIMITS.holdsForMs - 1);
    expect(entered).toEqual(['dead 1', 'dead 2']);
    await clock.advance(1);
    expect(entered).toEqual(['dead 1', 'dead 2', 'alive']);
  });

  it('lets nobody in who no longer waits, and leaves no timer behind', async () => {
    const { clock, ask, entered, leave } = openings();
    const gone = new AbortController();
    for (const name of ['a', 'b']) ask(name);
    ask('c', { signal: gone.signal });
    ask('d');
    await clock.settle();
    gone.abort(new Error('its record is gone'));
    await clock.settle();
    leave('a');
    await clock.settle();
    expect(entered).toEqual(['a', 'b', 'c left the queue', 'd']);
    leave('b');
    leave('d');
    expect(clock.nextDueMs()).toBeUndefined();
  });
});
