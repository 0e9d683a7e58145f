// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { forecast, type ForecastInput } from './forecast.js';

const MIB = 2 ** 20;
const INPUT: ForecastInput = {
  touchedBytes: 1_000 * MIB,
  dirtyRateBytesPerSecond: 0,
  bandwidthBytesPerSecond: 100 * MIB,
  pauseBudgetMs: 300,
  autoConverge: false,
  postCopy: false,
};

describe('the forecast', () => {
  it('of an idle guest is one pass over its memory', () => {
    expect(forecast(INPUT)).toMatchObject({ durationMs: 10_020, downtimeMs: 20, converges: true });
  });

  it('grows with the dirty rate, pass by pass', () => {
    const half = forecast({ ...INPUT, dirtyRateBytesPerSecond: 50 * MIB });
    expect(half.converges).toBe(true);
    // 10 s, 5 s, 2.5 s, 1.25 s, 0.625 s, and the rest within the budget.
    expect(half.durationMs).toBeGreaterThan(19_000);
    expect(half.durationMs).toBeLessThan(20_000);
    expect(half.downtimeMs).toBeLessThanOrEqual(320);
  });

  it('says so where a guest outruns the link', () => {
    const outrun = { ...INPUT, dirtyRateBytesPerSecond: 200 * MIB };
    expect(forecast(outrun).converges).toBe(false);
    expect(forecast({ ...outrun, autoConverge: true }).converges).toBe(true);
    const postCopy = forecast({ ...outrun, postCopy: true });
    expect(postCopy.converges).toBe(true);
    expect(postCopy.downtimeMs).toBeLessThan(100);
  });

  it('has a larger budget end earlier', () => {
    const dirty = { ...INPUT, dirtyRateBytesPerSecond: 60 * MIB };
    expect(forecast({ ...dirty, pauseBudgetMs: 2_000 }).durationMs).toBeLessThan(forecast(dirty).durationMs);
  });
});
