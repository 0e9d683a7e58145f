// SPDX-License-Identifier: Apache-2.0
// Random messages from a seed, made from the layouts of the codecs but not by the codecs.
import type { Layout } from '../codec.js';
import { XdrWriter } from '../xdr.js';

/** Whole numbers from 0 up to, without, `below`. */
export type Random = (below: number) => number;

/** Mulberry32: small, good enough for tests, the same on every machine. */
export function randomFrom(seed: number): Random {
  let state = seed >>> 0;
  return (below) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return Math.floor((((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32) * below);
  };
}

const MAX_ITEMS = 4;
const MAX_TEXT = 24;
const LETTERS = ['a', 'b', 'x', 'y', 'z', '.', '-', '_', ' ', 'ä', 'ß', '€', '😀'] as const;

function randomText(random: Random): string {
  return Array.from({ length: random(MAX_TEXT) }, () => LETTERS[random(LETTERS.length)] ?? '').join('');
}

function randomBytes(random: Random, length: number): Uint8Array {
  return Uint8Array.from({ length }, () => random(256));
}

const randomWord = (random: Random): number => (random(2) === 0 ? random(2) : random(2 ** 32) | 0);
const randomBig = (random: Random): bigint => (BigInt(random(2 ** 32)) << 32n) | BigInt(random(2 ** 32));

function writeTypedValue(writer: XdrWriter, random: Random): void {
  const type = 1 + random(7);
  writer.int(type);
  if (type <= 2) writer.int(randomWord(random));
  else if (type <= 4) writer.uhyper(randomBig(random));
  else if (type === 5) writer.double(random(1e9) / 1e3);
  else if (type === 6) writer.int(random(2));
  else writer.string(randomText(random), Infinity);
}

/** Writes one well-formed value of a layout. */
export function writeRandom(writer: XdrWriter, layout: Layout, random: Random): void {
  switch (layout.kind) {
    case 'void': return;
    case 'int': case 'uint': writer.int(randomWord(random)); return;
    case 'hyper': case 'uhyper': writer.uhyper(randomBig(random)); return;
    case 'double': writer.double(random(1e9) / 1e3); return;
    case 'typedValue': writeTypedValue(writer, random); return;
    case 'string': writer.string(randomText(random), layout.size); return;
    case 'opaque': writer.opaque(randomBytes(random, random(MAX_TEXT)), layout.size); return;
    case 'fixed': writer.fixedOpaque(randomBytes(random, layout.size), layout.size); return;
    case 'chars': for (let index = 0; index < layout.size; index += 1) writer.int(index < 9 ? 97 : 0); return;
    case 'optional':
      if (random(2) === 0) writer.present(false);
      else { writer.present(true); writeRandom(writer, layout.of, random); }
      return;
    case 'array': {
      const count = random(MAX_ITEMS);
      writer.length32(count, layout.size);
      for (let index = 0; index < count; index += 1) writeRandom(writer, layout.of, random);
      return;
    }
    case 'struct': for (const [, field] of layout.fields) writeRandom(writer, field, random); return;
  }
}

export function randomMessage(layout: Layout, random: Random): Buffer {
  const writer = new XdrWriter();
  writeRandom(writer, layout, random);
  return Buffer.from(writer.bytes());
}

/** Breaks a message in one of the ways in which messages break: cut, longer, changed words, noise. */
export function damage(message: Buffer, random: Random): Buffer {
  const kind = random(5);
  if (kind === 0) return message.subarray(0, random(message.length + 1));
  if (kind === 1) return Buffer.concat([message, randomBytes(random, random(16))]);
  if (kind === 2) return Buffer.from(randomBytes(random, random(256)));
  const copy = Buffer.from(message);
  for (let changes = 1 + random(3); changes > 0 && copy.length >= 4; changes -= 1) {
    const word = 4 * random(copy.length >> 2);
    if (kind === 3) copy.writeUInt32BE(random(2 ** 32), word);
    else copy.writeUInt32BE(0xffff_ffff >>> random(32), word);
  }
  return copy;
}
