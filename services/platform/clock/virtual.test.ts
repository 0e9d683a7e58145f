// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { sleep } from './clock.js';
import { createVirtualClock } from './virtual.js';

describe('the virtual clock', () => {
  it('fires timers at their own moments, ties in order of creation', async () => {
    const clock = createVirtualClock();
    const fired: string[] = [];
    const note = (name: string) => () => fired.push(`${name}@${String(clock.nowMs())}`);
    clock.after(20, note('c'));
    clock.after(10, note('a'));
    clock.after(20, note('d'));
    clock.after(10, note('b'));
    clock.after(31, note('late'));
    await clock.advance(30);
    expect(fired).toEqual(['a@10', 'b@10', 'c@20', 'd@20']);
    expect(clock.nowMs()).toBe(30);
    expect(clock.nextDueMs()).toBe(31);
  });

  it('lets promises settle between timers, also those that start new ones', async () => {
    const clock = createVirtualClock();
    const seen: number[] = [];
    const loop = async (): Promise<void> => {
      for (let i = 0; i < 5; i++) {
        await sleep(clock, 10);
        for (let hop = 0; hop < 50; hop++) await Promise.resolve();
        seen.push(clock.nowMs());
      }
    };
    const running = loop();
    await clock.advance(100);
    await running;
    expect(seen).toEqual([10, 20, 30, 40, 50]);
  });

  it('forgets timers that were stopped, before and while they fall due', async () => {
    const clock = createVirtualClock();
    const fired: string[] = [];
    const stopped = clock.after(5, () => fired.push('stopped'));
    stopped.stop();
    stopped.stop();
    const second = clock.after(10, () => fired.push('second'));
    clock.after(9, () => {
      second.stop();
    });
    await clock.advance(20);
    expect(fired).toEqual([]);
    expect(clock.nextDueMs()).toBeUndefined();
  });

  it('moves its wall time along and fails with what a timer threw', async () => {
    const clock = createVirtualClock(new Date('2031-02-03T04:05:06Z'));
    clock.after(1_000, () => {
      throw new Error('thrown by a timer');
    });
    await expect(clock.advance(2_000)).rejects.toThrow('thrown by a timer');
    expect(clock.wallTime().toISOString()).toBe('2031-02-03T04:05:07.000Z');
  });
});
