// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { createVirtualClock } from '../clock/virtual.js';
import type { Random } from './random.js';
import { createSeededRandom } from './seeded.js';
import { systemRandom } from './system.js';
import { createUuidSource } from './uuid.js';

const UUID_V7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/;

const sources: [string, () => Random][] = [
  ['system', () => systemRandom],
  ['seeded', () => createSeededRandom({ seed: 42, clock: createVirtualClock() })],
];

describe.each(sources)('%s randomness', (_, create) => {
  it('is uniform in [0, 1)', () => {
    const random = create();
    const bins = Array.from({ length: 10 }, () => 0);
    for (let i = 0; i < 20_000; i++) {
      const drawn = random.next();
      expect(drawn >= 0 && drawn < 1).toBe(true);
      const bin = Math.floor(drawn * 10);
      bins[bin] = (bins[bin] ?? 0) + 1;
    }
    // Twelve standard deviations of a fair bin.
    for (const count of bins) expect(Math.abs(count - 2_000)).toBeLessThan(500);
  });

  it('makes UUIDs of version 7 that are all different and in order', () => {
    const random = create();
    const ids = Array.from({ length: 10_000 }, () => random.uuid());
    for (const id of ids) expect(id).toMatch(UUID_V7);
    expect([...new Set(ids)].sort()).toEqual(ids);
  });
});

describe('seeded randomness', () => {
  const draw = (seed: string | number): unknown[] => {
    const random = createSeededRandom({ seed, clock: createVirtualClock() });
    return [random.uuid(), random.next(), random.next(), random.uuid()];
  };

  it('repeats itself with its seed, and differs with another', () => {
    expect(draw('42/h1')).toEqual(draw('42/h1'));
    const seeds = [0, 1, 2, '42/h1', '42/h2', ''];
    expect(new Set(seeds.map((seed) => JSON.stringify(draw(seed)))).size).toBe(seeds.length);
  });
});

describe('a source of UUIDs', () => {
  it('carries the wall time, and stays in order when it steps back', () => {
    let nowMs = Date.UTC(2030, 0, 1);
    const uuid = createUuidSource(() => nowMs, () => 0.5);
    const first = uuid();
    expect(Number.parseInt(first.replace('-', '').slice(0, 12), 16)).toBe(nowMs);
    nowMs -= 60_000;
    const second = uuid();
    nowMs += 60_001;
    const third = uuid();
    expect([third, first, second].sort()).toEqual([first, second, third]);
  });
});
