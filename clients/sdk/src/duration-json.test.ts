// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { durationFromJson, durationToJson } from './duration-json.js';
import { Migration } from './v1.js';

describe('a duration in JSON', () => {
  it.each([
    [{ seconds: 0n, nanos: 0 }, '0s'],
    [{ seconds: 3n, nanos: 0 }, '3s'],
    [{ seconds: 1n, nanos: 500_000_000 }, '1.500s'],
    [{ seconds: 0n, nanos: 1_000 }, '0.000001s'],
    [{ seconds: 3n, nanos: 1 }, '3.000000001s'],
    [{ seconds: -1n, nanos: -500_000_000 }, '-1.500s'],
    [{ seconds: 0n, nanos: -20_000_000 }, '-0.020s'],
  ])('%o is %s, there and back', (duration, text) => {
    expect(durationToJson(duration)).toBe(text);
    expect(durationFromJson(text)).toEqual(duration);
  });

  it.each([['1.5'], ['s'], ['1.5 s'], ['1.0000000001s'], [1.5], [{ seconds: '1' }], [null]])('is not %j', (json) => {
    expect(() => durationFromJson(json)).toThrow('want a duration such as "1.5s"');
  });

  it('stands so in a message', () => {
    const json = Migration.toJSON(Migration.fromPartial({ outcome: { gap: { nanos: 1_100_000 } } }));
    expect(json).toEqual({ outcome: { gap: '0.001100s' } });
    expect(Migration.fromJSON(json).outcome?.gap).toEqual({ seconds: 0n, nanos: 1_100_000 });
  });
});
