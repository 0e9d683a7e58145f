// SPDX-License-Identifier: Apache-2.0
import type { Layout } from '../codec.js';
import { eventMessages, procedures } from '../procedures.js';
import { errorReply } from '../wire-types.js';
import { ProtocolFile, normalName } from './protocol-file.js';

/** Every way in which two layouts differ: order, names, types, bounds. */
function differences(where: string, ours: Layout, theirs: Layout): string[] {
  if (ours.kind !== theirs.kind) return [`${where}: ours is ${ours.kind}, libvirt's is ${theirs.kind}`];
  if ('size' in ours && 'size' in theirs && ours.size !== theirs.size) {
    return [`${where}: our bound is ${String(ours.size)}, libvirt's is ${String(theirs.size)}`];
  }
  if ('of' in ours && 'of' in theirs) return differences(`${where}[]`, ours.of, theirs.of);
  if (ours.kind !== 'struct' || theirs.kind !== 'struct') return [];
  if (ours.fields.length !== theirs.fields.length) {
    return [`${where}: we have ${String(ours.fields.length)} fields, libvirt has ${String(theirs.fields.length)}`];
  }
  return ours.fields.flatMap(([name, layout], index) => {
    const [theirName, theirLayout] = theirs.fields[index] ?? ['', { kind: 'void' } as const];
    const renamed = normalName(name) === normalName(theirName) ? [] : [`${where}.${name}: libvirt's is ${theirName}`];
    return [...renamed, ...differences(`${where}.${name}`, layout, theirLayout)];
  });
}

function numberDifference(file: ProtocolFile, name: string, number: number): string[] {
  const theirs = file.procedureNumber(name);
  if (theirs === number) return [];
  return [`${name}: our number is ${String(number)}, libvirt's is ${String(theirs ?? 'none')}`];
}

/** Where our table differs from an interface file; empty if nowhere. */
export function compareWithProtocolFile(source: string): string[] {
  const file = new ProtocolFile(source);
  return [
    ...differences('error', errorReply.layout, file.layoutOf('remote_error')),
    ...Object.values(procedures).flatMap(({ name, number, args, ret }) => [
      ...numberDifference(file, name, number),
      ...differences(`${name}.args`, args.layout, file.layoutOf(`remote_${name}_args`)),
      ...differences(`${name}.ret`, ret.layout, file.layoutOf(`remote_${name}_ret`)),
    ]),
    ...Object.values(eventMessages).flatMap(({ name, number, msg }) => [
      ...numberDifference(file, name, number),
      ...differences(`${name}.msg`, msg.layout, file.layoutOf(`remote_${name}_msg`)),
    ]),
  ];
}
