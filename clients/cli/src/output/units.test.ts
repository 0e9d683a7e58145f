// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { formatAge, formatBytes, formatDuration, formatMs, parseBytes, parseDurationMs } from './units.js';

describe('bytes', () => {
  it.each([
    [0n, '0 B'],
    [1023n, '1023 B'],
    [1024n, '1 KiB'],
    [1_048_575n, '1 MiB'],
    [1536n << 20n, '1.5 GiB'],
    [512n << 20n, '512 MiB'],
    [2n ** 64n - 1n, '16384 PiB'],
  ])('formats %s as %s', (bytes, text) => {
    expect(formatBytes(bytes)).toBe(text);
  });

  it.each([
    ['100MiB', 104_857_600n],
    ['1.5 GiB', 1_610_612_736n],
    ['125MB/s', 125_000_000n],
    ['4096', 4096n],
    ['', undefined],
    ['MiB', undefined],
    ['-1MiB', undefined],
    ['1e9', undefined],
    ['10 parsecs', undefined],
    ['9999999999999999', undefined],
  ])('reads %j as %s', (text, bytes) => {
    expect(parseBytes(text)).toBe(bytes);
  });
});

describe('durations', () => {
  it.each([
    [0.42, '0.4 ms'],
    [148, '148 ms'],
    [999.6, '1 s'],
    [3210, '3.2 s'],
    [59_700, '1m 0s'],
    [252_000, '4m 12s'],
    [3_599_900, '1h 0m'],
    [183_600_000, '2d 3h'],
    [-5, '-5 ms'],
  ])('formats %d ms as %s', (ms, text) => {
    expect(formatMs(ms)).toBe(text);
  });

  it('formats messages, and none', () => {
    expect(formatDuration({ seconds: 1n, nanos: 500_000_000 })).toBe('1.5 s');
    expect(formatDuration(undefined)).toBe('-');
  });

  it.each([
    ['500ms', 500],
    ['1.5s', 1500],
    ['2h', 7_200_000],
    ['24d', 2_073_600_000],
    ['25d', undefined],
    ['0s', undefined],
    ['5', undefined],
    ['5 fortnights', undefined],
  ])('reads %j as %s', (text, ms) => {
    expect(parseDurationMs(text)).toBe(ms);
  });

  it.each([
    [0, '0s'],
    [119_000, '119s'],
    [120_000, '2m'],
    [7_200_000, '2h'],
    [200_000_000, '2d'],
    [-60_000, '0s'],
  ])('tells an age of %d ms as %s', (ms, text) => {
    expect(formatAge(new Date(1e12 - ms), 1e12)).toBe(text);
  });
});
