// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { XdrWriter } from './xdr.js';

describe('a writer whose buffer grows', () => {
  const kinds = {
    int: (writer: XdrWriter) => {
      writer.int(-7);
    },
    uint: (writer: XdrWriter) => {
      writer.uint(7);
    },
    hyper: (writer: XdrWriter) => {
      writer.hyper(-7n);
    },
    uhyper: (writer: XdrWriter) => {
      writer.uhyper(7n);
    },
    double: (writer: XdrWriter) => {
      writer.double(0.5);
    },
    string: (writer: XdrWriter) => {
      writer.string('seven', 16);
    },
  };

  // Every kind of value is the first one beyond the buffer once, whatever the buffer's size is.
  it.each(Object.entries(kinds))('writes a value of kind %s into the part that was just added', (_kind, write) => {
    for (let before = 0; before < 300; before += 1) {
      const writer = new XdrWriter();
      const expected = new XdrWriter();
      for (let word = 0; word < before; word += 1) writer.uint(word);
      write(writer);
      write(expected);
      const bytes = writer.bytes();
      const words = Array.from({ length: before }, (_, word) => bytes.readUInt32BE(word * 4));
      if (words.some((word, index) => word !== index)) throw new Error(`damaged before word ${before}`);
      expect(bytes.subarray(before * 4).equals(expected.bytes())).toBe(true);
    }
  });
});
