// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { type Frame, FrameSplitter, HEADER_BYTES, MAX_FRAME_BYTES, encodeFrame } from './frame.js';

const frame = (serial: number, body: string): Buffer =>
  encodeFrame({ program: 7, procedure: -1, type: 2, serial, status: 1 }, Buffer.from(body));

const stream = Buffer.concat([frame(1, ''), frame(0xffff_ffff, 'hello'), frame(3, 'x'.repeat(100))]);

function split(pieces: readonly Buffer[]): string[] {
  const splitter = new FrameSplitter();
  const seen: string[] = [];
  for (const piece of pieces) {
    splitter.push(piece, ({ serial, body }) => seen.push(`${String(serial)}:${body.toString()}`));
  }
  return seen;
}

const whole = ['1:', '4294967295:hello', `3:${'x'.repeat(100)}`];

describe('FrameSplitter', () => {
  it('reads the header as it was written', () => {
    const seen: Frame[] = [];
    new FrameSplitter().push(frame(9, 'ab'), (one) => seen.push(one));
    expect(seen).toEqual([
      { program: 7, version: 1, procedure: -1, type: 2, serial: 9, status: 1, body: Buffer.from('ab') },
    ]);
  });

  it('finds the same frames wherever the stream is cut in two', () => {
    for (let cut = 0; cut <= stream.length; cut += 1) {
      expect(split([stream.subarray(0, cut), stream.subarray(cut)])).toEqual(whole);
    }
  });

  it('finds the same frames byte by byte', () => {
    expect(split([...stream].map((byte) => Buffer.from([byte])))).toEqual(whole);
  });

  it.each([0, 4, HEADER_BYTES - 1, MAX_FRAME_BYTES + 1, 0xffff_ffff])('refuses a frame length of %i', (length) => {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32BE(length);
    expect(() => split([bytes])).toThrow(/frame length/);
  });

  it('takes the largest length, and keeps only what came of it', () => {
    const bytes = Buffer.alloc(HEADER_BYTES);
    bytes.writeUInt32BE(MAX_FRAME_BYTES);
    const before = process.memoryUsage().external;
    expect(split([bytes])).toEqual([]);
    expect(process.memoryUsage().external - before).toBeLessThan(MAX_FRAME_BYTES / 4);
  });
});
