// SPDX-License-Identifier: Apache-2.0
import type { DriverOp } from './driver.js';
import { StoreError } from './store.js';

/** Consul takes 64 operations in a transaction. */
export const MAX_TXN_OPS = 64;

/**
 * All values of a transaction together. Consul takes 512 KiB of request body, in which values are base64 (four
 * bytes for three) beside keys and framing.
 */
export const MAX_TXN_VALUE_BYTES = 360 * 1024;

export const MAX_KEY_BYTES = 256;

/** Printable ASCII: Consul orders keys by bytes, JavaScript by UTF-16 units, and here both are the same. */
const PRINTABLE = /^[!-~]*$/;

/** Throws {@link StoreError} `invalid` unless every server would take the key as it is: not for a path to clean. */
export function checkKey(key: string): void {
  if (key === '' || key.endsWith('/')) throw invalidKey(key, 'names a folder');
  checkPrefix(key);
}

export function checkPrefix(prefix: string): void {
  if (prefix.length > MAX_KEY_BYTES) throw invalidKey(prefix, `is longer than ${String(MAX_KEY_BYTES)} bytes`);
  if (!PRINTABLE.test(prefix)) throw invalidKey(prefix, 'has characters that are not printable ASCII');
  const parts = prefix.split('/');
  parts.forEach((part, place) => {
    const last = place === parts.length - 1;
    if ((part === '' && !last) || part === '.' || part === '..') {
      throw invalidKey(prefix, 'has an empty part, "." or ".."');
    }
  });
}

function invalidKey(key: string, why: string): StoreError {
  return new StoreError('invalid', `store key ${JSON.stringify(key.slice(0, MAX_KEY_BYTES))} ${why}`);
}

/** How many of the {@link MAX_TXN_OPS} a step takes: Consul's delete-cas passes on an absent key, so it is two. */
export function weightOf(op: DriverOp): number {
  return op.op === 'delete-cas' && op.index !== 0n ? 2 : 1;
}

/** Throws {@link StoreError} `invalid`: such a transaction is refused before it is sent. */
export function checkTxn(ops: readonly DriverOp[]): void {
  if (ops.length === 0) throw new StoreError('invalid', 'a transaction needs at least one operation');
  let weight = 0;
  let valueBytes = 0;
  for (const op of ops) {
    checkKey(op.key);
    weight += weightOf(op);
    if ('value' in op) valueBytes += Buffer.byteLength(op.value);
  }
  if (weight > MAX_TXN_OPS) {
    throw new StoreError(
      'invalid',
      `a transaction of ${String(weight)} steps (delete-cas counts twice), above the limit of ${String(MAX_TXN_OPS)}`,
    );
  }
  if (valueBytes > MAX_TXN_VALUE_BYTES) {
    throw new StoreError(
      'invalid',
      `values of ${String(valueBytes)} bytes in one transaction are above the limit of ${String(MAX_TXN_VALUE_BYTES)}`,
    );
  }
}
