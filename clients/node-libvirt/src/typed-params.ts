// SPDX-License-Identifier: Apache-2.0
// libvirt's typed parameters: a name and a value of one of seven types. New names appear with every release of
// libvirt, new types never did, so this is the one union of the protocol and it is written out for speed.
import { type Codec, array } from './codec.js';
import { XdrError, type XdrReader, type XdrWriter } from './xdr.js';

/** A named value; `type` says which TypeScript type `value` has. 64-bit integers are bigints. */
export type TypedParam =
  | { readonly name: string; readonly type: 'int' | 'uint'; readonly value: number }
  | { readonly name: string; readonly type: 'llong' | 'ullong'; readonly value: bigint }
  | { readonly name: string; readonly type: 'double'; readonly value: number }
  | { readonly name: string; readonly type: 'boolean'; readonly value: boolean }
  | { readonly name: string; readonly type: 'string'; readonly value: string };

export type TypedParamValue = TypedParam['value'];

const STRING_MAX_BYTES = 4 * 1024 * 1024;
const WIRE_TYPE = { int: 1, uint: 2, llong: 3, ullong: 4, double: 5, boolean: 6, string: 7 } as const;

function encodeParam(writer: XdrWriter, param: TypedParam): void {
  writer.string(param.name, STRING_MAX_BYTES);
  writer.int(WIRE_TYPE[param.type]);
  switch (param.type) {
    case 'int': writer.int(param.value); return;
    case 'uint': writer.uint(param.value); return;
    case 'llong': writer.hyper(param.value); return;
    case 'ullong': writer.uhyper(param.value); return;
    case 'double': writer.double(param.value); return;
    case 'boolean': writer.int(param.value ? 1 : 0); return;
    case 'string': writer.string(param.value, STRING_MAX_BYTES); return;
  }
}

function decodeParam(reader: XdrReader): TypedParam {
  const name = reader.string(STRING_MAX_BYTES);
  const wireType = reader.int();
  switch (wireType) {
    case WIRE_TYPE.int: return { name, type: 'int', value: reader.int() };
    case WIRE_TYPE.uint: return { name, type: 'uint', value: reader.uint() };
    case WIRE_TYPE.llong: return { name, type: 'llong', value: reader.hyper() };
    case WIRE_TYPE.ullong: return { name, type: 'ullong', value: reader.uhyper() };
    case WIRE_TYPE.double: return { name, type: 'double', value: reader.double() };
    case WIRE_TYPE.boolean: return { name, type: 'boolean', value: reader.int() !== 0 };
    case WIRE_TYPE.string: return { name, type: 'string', value: reader.string(STRING_MAX_BYTES) };
    default: throw new XdrError(`parameter ${JSON.stringify(name)} has the unknown type ${String(wireType)}`);
  }
}

const typedParam: Codec<TypedParam> = {
  layout: {
    kind: 'struct',
    fields: [['field', { kind: 'string', size: STRING_MAX_BYTES }], ['value', { kind: 'typedValue' }]],
  },
  encode: encodeParam,
  decode: decodeParam,
};

export const typedParams = (maxItems: number): Codec<TypedParam[]> => array(typedParam, maxItems);

/** By name, without the types; of a name that occurs several times the last value stays. Has no prototype. */
export function paramsToRecord(params: readonly TypedParam[]): Record<string, TypedParamValue> {
  const record = Object.create(null) as Record<string, TypedParamValue>;
  for (const { name, value } of params) record[name] = value;
  return record;
}
