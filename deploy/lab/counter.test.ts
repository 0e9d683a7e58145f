// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { checkContinuity, formatCount } from './counter.js';

/** What a guest prints from one value to another. */
const output = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, index) => `${formatCount(from + index)}\n`).join('');

const check = (h1: string, h2: string) =>
  checkContinuity([
    { host: 'h1', text: h1 },
    { host: 'h2', text: h2 },
  ]);

describe('the continuity of a guest that counts', () => {
  it('accepts a guest that stays', () => {
    expect(check(output(1, 500), '')).toEqual({ ok: true, last: 500, moves: 0 });
  });

  it('accepts a guest that has printed nothing yet', () => {
    expect(check('', '')).toEqual({ ok: true, last: 0, moves: 0 });
  });

  it('accepts a guest that moves there and back', () => {
    const result = check(output(1, 300) + output(801, 900), output(301, 800));
    expect(result).toEqual({ ok: true, last: 900, moves: 2 });
  });

  it('accepts a move at every place inside a line, the last line unfinished', () => {
    const text = output(1, 40);
    for (let first = 1; first < text.length - 1; first += 2) {
      for (let second = first + 1; second < Math.min(first + 25, text.length); second += 3) {
        const result = check(text.slice(0, first) + text.slice(second), text.slice(first, second));
        expect(result.ok).toBe(true);
      }
    }
    expect(check(text.slice(0, -3), '')).toMatchObject({ ok: true, last: 39 });
  });

  it('accepts output that begins with another value, where it is told', () => {
    const files = [
      { host: 'h1', text: output(0x0100_0001, 0x0100_0030) },
      { host: 'h2', text: output(0x0100_0031, 0x0100_0040) },
    ];
    expect(checkContinuity(files, 0x0100_0001)).toEqual({ ok: true, last: 0x0100_0040, moves: 1 });
    expect(checkContinuity(files, 0x0100_0002)).toMatchObject({ ok: false, kind: 'repeated' });
  });

  it('finds a missing value', () => {
    const result = check(output(1, 300), output(302, 310));
    expect(result).toMatchObject({ ok: false, kind: 'skipped', last: 300 });
    expect(result).toHaveProperty(
      'message',
      'after 0000012c, 0000012d should follow: h1 has no more, h2 goes on with "0000012e" in line 1',
    );
  });

  it('finds two copies that ran at the same time', () => {
    expect(check(output(1, 320), output(301, 310))).toMatchObject({ ok: false, kind: 'repeated' });
  });

  it('finds a guest that started again', () => {
    expect(check(output(1, 300), output(1, 20))).toMatchObject({ ok: false, kind: 'repeated', last: 300 });
    expect(check(output(1, 300) + output(1, 20), '')).toMatchObject({ ok: false, kind: 'repeated', last: 300 });
  });

  it('finds older memory that ran again', () => {
    expect(check(output(1, 300), output(298, 305))).toMatchObject({ ok: false, kind: 'repeated' });
  });

  it('finds output that does not begin at the beginning', () => {
    expect(check(output(5, 20), '')).toMatchObject({ ok: false, kind: 'skipped', last: 0 });
  });

  it('finds a guest that says its memory is damaged', () => {
    const result = check(`${output(1, 30)}DAMAGED\n`, '');
    expect(result).toMatchObject({ ok: false, kind: 'damaged', last: 30 });
  });

  it('finds a single character that is lost', () => {
    const text = output(1, 40);
    for (let place = 0; place < text.length - 9; place += 1) {
      expect(check(text.slice(0, place) + text.slice(place + 1), '').ok).toBe(false);
    }
  });
});
