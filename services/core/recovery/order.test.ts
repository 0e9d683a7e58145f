// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { byRecoveryOrder, waitsFor, type RecoveryCandidate } from './order.js';

function vm(name: string, priority = 0, ...startAfter: string[]): RecoveryCandidate {
  return { id: `id-${name}`, name, priority, startAfter };
}

function waits(all: readonly RecoveryCandidate[], name: string, up: readonly string[] = []): string[] {
  const find = (wanted: string): RecoveryCandidate | undefined => all.find((one) => one.name === wanted || one.id === wanted);
  const one = find(name);
  if (one === undefined) throw new Error(`no ${name}`);
  return waitsFor(one, find, (first) => up.includes(first.name)).map((first) => first.name);
}

describe('the order of a recovery', () => {
  it('is by priority, then by name', () => {
    const all = [vm('b'), vm('c', 5), vm('a'), vm('d', -1)];
    expect(all.sort(byRecoveryOrder).map(({ name }) => name)).toEqual(['c', 'a', 'b', 'd']);
  });

  it('has a VM wait for those it names by name or UUID, until they are up', () => {
    const all = [vm('app', 9, 'db', 'id-cache'), vm('db'), vm('cache')];
    expect(waits(all, 'app')).toEqual(['db', 'cache']);
    expect(waits(all, 'app', ['db'])).toEqual(['cache']);
    expect(waits(all, 'app', ['db', 'cache'])).toEqual([]);
    expect(waits(all, 'db')).toEqual([]);
  });

  it('waits for nothing that is not there, and not for itself', () => {
    expect(waits([vm('app', 0, 'gone', 'app')], 'app')).toEqual([]);
  });

  it('has nobody wait in a circle, however long', () => {
    const circle = [vm('a', 0, 'b'), vm('b', 0, 'c'), vm('c', 0, 'a')];
    expect(['a', 'b', 'c'].map((name) => waits(circle, name))).toEqual([[], [], []]);
    // One outside of the circle still waits for what it names.
    expect(waits([...circle, vm('d', 0, 'a')], 'd')).toEqual(['a']);
  });
});
