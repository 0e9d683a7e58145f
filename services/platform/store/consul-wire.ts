// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';
import type { DriverOp } from './driver.js';
import type { Entry, Member } from './store.js';

/** Consul's JSON: keys and their values, transactions, sessions. */
const kvEntry = z.object({
  Key: z.string(),
  Value: z.string().nullable(),
  ModifyIndex: z.int().nonnegative(),
  Session: z.string().optional(),
});
export const kvListing = z.array(kvEntry);

export const txnCommitted = z.object({
  Results: z.array(z.object({ KV: kvEntry.optional() })).nullable(),
});

export const txnRefused = z.object({
  Errors: z.array(z.object({ OpIndex: z.int(), What: z.string() })).min(1),
});

export const createdSession = z.object({ ID: z.string().min(1) });

export const healthChecks = z.array(z.object({ Node: z.string(), CheckID: z.string(), Status: z.string() }));

export function memberOf({ Node, Status }: z.infer<typeof healthChecks>[number]): Member {
  return { name: Node, alive: Status === 'passing' };
}

export function entryOf({ Key, Value, ModifyIndex, Session }: z.infer<typeof kvEntry>): Entry {
  return {
    key: Key,
    value: Buffer.from(Value ?? '', 'base64').toString('utf8'),
    index: BigInt(ModifyIndex),
    ...(Session === undefined || Session === '' ? {} : { session: Session }),
  };
}

interface WireOp {
  KV: { Verb: string; Key: string; Value?: string; Index?: number; Session?: string; Flags?: number };
}

/**
 * The operations as Consul takes them. `mark` must differ between writes: Consul skips a write that changes nothing,
 * and the key would keep its old index; with the mark in its flags no write is the same as the one before.
 */
export function toWire(op: DriverOp, mark: number): WireOp[] {
  const { key: Key } = op;
  const written = (value: string): { Value: string; Flags: number } => ({
    Value: Buffer.from(value, 'utf8').toString('base64'),
    Flags: mark,
  });
  switch (op.op) {
    case 'check':
      return [checkIndex(Key, op.index)];
    case 'check-session':
      return [{ KV: { Verb: 'check-session', Key, Session: op.session } }];
    case 'set':
      return [{ KV: { Verb: 'set', Key, ...written(op.value) } }];
    case 'cas':
      return [{ KV: { Verb: 'cas', Key, ...written(op.value), Index: Number(op.index) } }];
    case 'delete':
      return [{ KV: { Verb: 'delete', Key } }];
    case 'delete-cas':
      // Consul's own delete-cas passes where the key does not exist.
      return op.index === 0n ? [checkIndex(Key, 0n)] : [checkIndex(Key, op.index), { KV: { Verb: 'delete', Key } }];
    case 'lock':
    case 'unlock':
      return [{ KV: { Verb: op.op, Key, ...written(op.value), Session: op.session } }];
  }
}

/** Consul's check-index fails on an absent key whatever the index. */
function checkIndex(Key: string, index: bigint): WireOp {
  return index === 0n
    ? { KV: { Verb: 'check-not-exists', Key } }
    : { KV: { Verb: 'check-index', Key, Index: Number(index) } };
}
