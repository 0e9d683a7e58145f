// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { XdrReader, XdrWriter } from './xdr.js';

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
    for (let before = 0; before < 600; before += 1) {
      const writer = new XdrWriter();
      for (let word = 0; word < before; word += 1) writer.uint(word);
      write(writer);
      const alone = new XdrWriter();
      write(alone);
      const reader = new XdrReader(writer.bytes());
      for (let word = 0; word < before; word += 1) expect(reader.uint()).toBe(word);
      expect(writer.bytes().subarray(before * 4)).toEqual(alone.bytes());
    }
  });
});
