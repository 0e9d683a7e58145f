// SPDX-License-Identifier: Apache-2.0
// Describes a message once; the encoder and the decoder are composed from that description when the module loads.
// At run time nothing walks the description: a struct is a chain of closures, one per field, each already bound.
import { XdrError, type XdrReader, type XdrWriter } from './xdr.js';

/** What a codec puts on the wire; read by the tool that compares our table with libvirt's interface file. */
export type Layout =
  | { readonly kind: 'void' | 'int' | 'uint' | 'hyper' | 'uhyper' | 'double' | 'typedValue' }
  | { readonly kind: 'string' | 'opaque' | 'fixed' | 'chars'; readonly size: number }
  | { readonly kind: 'optional'; readonly of: Layout }
  | { readonly kind: 'array'; readonly of: Layout; readonly size: number }
  | { readonly kind: 'struct'; readonly fields: readonly (readonly [name: string, layout: Layout])[] };

/** Both directions of one type. Property functions, so that they can be taken apart and composed. */
export interface Codec<T> {
  readonly layout: Layout;
  readonly encode: (writer: XdrWriter, value: T) => void;
  readonly decode: (reader: XdrReader) => T;
}

/** The TypeScript type that a codec carries. */
export type Carried<C> = C extends Codec<infer T> ? T : never;

export const nothing: Codec<void> = {
  layout: { kind: 'void' },
  encode: () => undefined,
  decode: () => undefined,
};

export const int: Codec<number> = {
  layout: { kind: 'int' },
  encode: (writer, value) => { writer.int(value); },
  decode: (reader) => reader.int(),
};

export const uint: Codec<number> = {
  layout: { kind: 'uint' },
  encode: (writer, value) => { writer.uint(value); },
  decode: (reader) => reader.uint(),
};

export const hyper: Codec<bigint> = {
  layout: { kind: 'hyper' },
  encode: (writer, value) => { writer.hyper(value); },
  decode: (reader) => reader.hyper(),
};

export const uhyper: Codec<bigint> = {
  layout: { kind: 'uhyper' },
  encode: (writer, value) => { writer.uhyper(value); },
  decode: (reader) => reader.uhyper(),
};

/** libvirt carries truth values as ints, and takes any other number than 0 for true. */
export const truth: Codec<boolean> = {
  layout: { kind: 'int' },
  encode: (writer, value) => { writer.int(value ? 1 : 0); },
  decode: (reader) => reader.int() !== 0,
};

export function string(maxBytes: number): Codec<string> {
  return {
    layout: { kind: 'string', size: maxBytes },
    encode: (writer, value) => { writer.string(value, maxBytes); },
    decode: (reader) => reader.string(maxBytes),
  };
}

export function opaque(maxBytes: number): Codec<Uint8Array> {
  return {
    layout: { kind: 'opaque', size: maxBytes },
    encode: (writer, value) => { writer.opaque(value, maxBytes); },
    decode: (reader) => reader.opaque(maxBytes),
  };
}

const UUID_BYTES = 16;
const UUID_PATTERN = /^[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}$/i;

/** Sixteen bytes on the wire, the usual text with four hyphens in TypeScript. */
export const uuid: Codec<string> = {
  layout: { kind: 'fixed', size: UUID_BYTES },
  encode: (writer, value) => {
    if (!UUID_PATTERN.test(value)) throw new XdrError(`${JSON.stringify(value)} is not a UUID`);
    writer.fixedOpaque(Buffer.from(value.replaceAll('-', ''), 'hex'), UUID_BYTES);
  },
  decode: (reader) => {
    const hex = reader.fixedHex(UUID_BYTES);
    const parts = [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)];
    return parts.join('-');
  },
};

/** C's `char x[size]` in XDR: one whole word per character, filled up with zeroes. */
export function chars(size: number): Codec<string> {
  return {
    layout: { kind: 'chars', size },
    encode: (writer, value) => {
      const bytes = Buffer.from(value, 'utf8');
      if (bytes.length >= size) {
        throw new XdrError(`text of ${String(bytes.length)} bytes where ${String(size - 1)} fit`);
      }
      for (let index = 0; index < size; index += 1) writer.int(bytes[index] ?? 0);
    },
    decode: (reader) => {
      const bytes = Buffer.alloc(size);
      for (let index = 0; index < size; index += 1) bytes[index] = reader.int();
      const end = bytes.indexOf(0);
      return bytes.toString('utf8', 0, end < 0 ? size : end);
    },
  };
}

export function optional<T>(of: Codec<T>): Codec<T | null> {
  const { encode, decode } = of;
  return {
    layout: { kind: 'optional', of: of.layout },
    encode: (writer, value) => {
      writer.present(value !== null);
      if (value !== null) encode(writer, value);
    },
    decode: (reader) => (reader.present() ? decode(reader) : null),
  };
}

/** An array grows as its items are read: a hostile count costs nothing before the bytes that would back it. */
export function array<T>(of: Codec<T>, maxItems: number): Codec<T[]> {
  const { encode, decode } = of;
  return {
    layout: { kind: 'array', of: of.layout, size: maxItems },
    encode: (writer, value) => {
      writer.length32(value.length, maxItems);
      for (const item of value) encode(writer, item);
    },
    decode: (reader) => {
      const count = reader.length(maxItems);
      const items: T[] = [];
      for (let index = 0; index < count; index += 1) items.push(decode(reader));
      return items;
    },
  };
}

type Step<S, V> = (stream: S, value: V) => void;

/** One function that runs all steps in order, without a loop over them at run time. */
function inOrder<S, V>(steps: readonly Step<S, V>[]): Step<S, V> {
  const [a, b, c, ...rest] = steps;
  if (a === undefined) return () => undefined;
  if (b === undefined) return a;
  if (c === undefined) return (stream, value) => { a(stream, value); b(stream, value); };
  if (rest.length === 0) return (stream, value) => { a(stream, value); b(stream, value); c(stream, value); };
  const others = inOrder(rest);
  return (stream, value) => { a(stream, value); b(stream, value); c(stream, value); others(stream, value); };
}

/** Fields in wire order, which is the order in which the literal names them. */
export function struct<T extends object>(fields: { readonly [K in keyof T]: Codec<T[K]> }): Codec<T> {
  const names = Object.keys(fields) as (keyof T & string)[];
  const encode = inOrder(names.map((name): Step<XdrWriter, T> => {
    const field = fields[name].encode;
    return (writer, value) => { field(writer, value[name]); };
  }));
  const decodeInto = inOrder(names.map((name): Step<XdrReader, T> => {
    const field = fields[name].decode;
    return (reader, target) => { target[name] = field(reader); };
  }));
  return {
    layout: { kind: 'struct', fields: names.map((name) => [name, fields[name].layout]) },
    encode,
    decode: (reader) => {
      const target = {} as T;
      decodeInto(reader, target);
      return target;
    },
  };
}
