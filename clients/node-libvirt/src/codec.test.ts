// SPDX-License-Identifier: Apache-2.0
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import {
  type Codec, array, chars, hyper, int, opaque, optional, string, struct, truth, uhyper, uint, uuid,
} from './codec.js';
import { eventMessages, procedures } from './procedures.js';
import { encodeBody } from './testing/fake-server.js';
import { randomFrom, randomMessage } from './testing/random.js';
import { type TypedParam, paramsToRecord, typedParams } from './typed-params.js';
import { errorReply } from './wire-types.js';
import { XdrError, XdrReader } from './xdr.js';

function decode<T>(codec: Codec<T>, bytes: Buffer): T {
  const reader = new XdrReader(bytes);
  const value = codec.decode(reader);
  reader.end();
  return value;
}

const words = (...values: number[]): Buffer => {
  const bytes = Buffer.alloc(values.length * 4);
  values.forEach((value, index) => bytes.writeUInt32BE(value >>> 0, index * 4));
  return bytes;
};

const text = fc.string({ unit: 'grapheme', maxLength: 40 }).filter((value) => !value.includes('\0'));

const typedParam: fc.Arbitrary<TypedParam> = fc.oneof(
  fc.record({ name: text, type: fc.constant('int' as const), value: fc.integer() }),
  fc.record({ name: text, type: fc.constant('uint' as const), value: fc.nat(0xffff_ffff) }),
  fc.record({ name: text, type: fc.constant('llong' as const), value: fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n) }),
  fc.record({ name: text, type: fc.constant('ullong' as const), value: fc.bigInt(0n, 2n ** 64n - 1n) }),
  fc.record({ name: text, type: fc.constant('double' as const), value: fc.double() }),
  fc.record({ name: text, type: fc.constant('boolean' as const), value: fc.boolean() }),
  fc.record({ name: text, type: fc.constant('string' as const), value: text }),
);

describe('round trips', () => {
  const sample = struct({
    name: string(1000), id: uuid, number: int, big: hyper, flags: uint, size: uhyper, yes: truth,
    cookie: opaque(100), note: optional(string(1000)), list: array(int, 10),
  });

  it('gives back every value of every simple type', () => {
    fc.assert(fc.property(fc.record({
      name: text,
      id: fc.uuid(),
      number: fc.integer(),
      big: fc.bigInt(-(2n ** 63n), 2n ** 63n - 1n),
      flags: fc.nat(0xffff_ffff),
      size: fc.bigInt(0n, 2n ** 64n - 1n),
      yes: fc.boolean(),
      cookie: fc.uint8Array({ maxLength: 100 }),
      note: fc.option(text),
      list: fc.array(fc.integer(), { maxLength: 10 }),
    }, { noNullPrototype: true }), (value) => {
      const bytes = encodeBody(sample, value);
      expect(bytes.length % 4).toBe(0);
      expect(decode(sample, bytes)).toEqual(value);
    }));
  });

  it('gives back typed parameters of all seven types', () => {
    const codec = typedParams(64);
    fc.assert(fc.property(fc.array(typedParam, { maxLength: 64 }), (params) => {
      expect(decode(codec, encodeBody(codec, params))).toEqual(params.map((param) => ({ ...param })));
    }));
  });

  it('gives back every message of the table', () => {
    const codecs = [
      errorReply,
      ...Object.values(procedures).flatMap(({ args, ret }) => [args, ret]),
      ...Object.values(eventMessages).map(({ msg }) => msg),
    ] as readonly Codec<unknown>[];
    fc.assert(fc.property(fc.integer(), fc.constantFrom(...codecs), (seed, codec) => {
      const bytes = randomMessage(codec.layout, randomFrom(seed));
      const value = decode(codec, bytes);
      expect(decode(codec, encodeBody(codec, value))).toEqual(value);
    }), { numRuns: 2000 });
  });

  it('carries cookies byte for byte, with their trailing NUL, and as copies', () => {
    const cookie = Buffer.from('<qemu-migration/>\0');
    const bytes = encodeBody(opaque(100), cookie);
    const carried = decode(opaque(100), bytes);
    bytes.fill(0xff);
    expect(Buffer.from(carried).equals(cookie)).toBe(true);
  });

  it('writes a C array of characters as one word each', () => {
    const bytes = encodeBody(chars(4), 'ab');
    expect(bytes).toEqual(words(97, 98, 0, 0));
    expect(decode(chars(4), bytes)).toBe('ab');
    expect(decode(chars(2), words(97, 98))).toBe('ab');
  });
});

describe('bounds', () => {
  it.each<[string, Codec<unknown>, Buffer, RegExp]>([
    ['a string above its bound', string(3) as Codec<unknown>, words(4, 0), /bound of 3/],
    ['a length of four gigabytes', opaque(100) as Codec<unknown>, words(0xffff_ffff), /bound of 100/],
    ['an array above its bound', array(int, 2) as Codec<unknown>, words(3, 1, 2, 3), /bound of 2/],
    ['an array longer than the message', array(int, 100_000) as Codec<unknown>, words(90_000, 1), /ends early/],
    ['a message that ends early', hyper as Codec<unknown>, words(1), /ends early/],
    ['padding that is missing', string(10) as Codec<unknown>, Buffer.from([0, 0, 0, 1, 65]), /ends early/],
    ['bytes left over', int as Codec<unknown>, words(1, 2), /left over/],
    ['a presence word of 2', optional(int) as Codec<unknown>, words(2, 1), /marked with 2/],
    ['an unknown parameter type', typedParams(1) as Codec<unknown>, words(1, 0, 9, 0), /unknown type 9/],
  ])('refuses %s', (_, codec, bytes, message) => {
    expect(() => decode(codec, bytes)).toThrow(message);
  });

  it.each<[string, () => Buffer]>([
    ['a fraction', () => encodeBody(int, 1.5)],
    ['an int above 31 bits', () => encodeBody(int, 2 ** 31)],
    ['NaN', () => encodeBody(uint, NaN)],
    ['a negative uint', () => encodeBody(uint, -1)],
    ['a hyper above 63 bits', () => encodeBody(hyper, 2n ** 63n)],
    ['a negative uhyper', () => encodeBody(uhyper, -1n)],
    ['text with a NUL', () => encodeBody(string(10), 'a\0b')],
    ['text above its bound, in bytes', () => encodeBody(string(3), 'ää')],
    ['too many items', () => encodeBody(array(int, 1), [1, 2])],
    ['what is not a UUID', () => encodeBody(uuid, '1234')],
  ])('does not send %s', (_, encode) => {
    expect(encode).toThrow(XdrError);
  });
});

describe('paramsToRecord', () => {
  it('is a record without a prototype, in which the last of equal names stays', () => {
    const record = paramsToRecord([
      { name: '__proto__', type: 'int', value: 1 },
      { name: 'a', type: 'ullong', value: 1n },
      { name: 'a', type: 'ullong', value: 2n },
    ]);
    expect(Object.getPrototypeOf(record)).toBeNull();
    expect(Object.entries(record)).toEqual([['__proto__', 1], ['a', 2n]]);
  });
});
