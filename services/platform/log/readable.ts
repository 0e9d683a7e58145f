// SPDX-License-Identifier: Apache-2.0
import type { LogFields } from './log.js';

const REDACTED = '[redacted]';
const DEEPEST = 6;
const MOST_ITEMS = 100;
const LONGEST_TEXT = 8_192;

/** Names of fields whose values nobody may read in a log. Paths of files that hold secrets are no secrets. */
const secretName = /pass(word|wd|phrase)|^pass$|secret|token|credential|authorization|private_?key|api_?key|^key$|^pem$/i;
const fileName = /(file|path|dir)$/i;

/** Whether a field of this name holds what nobody may read in a log or an error. */
export function isSecretName(name: string): boolean {
  return secretName.test(name) && !fileName.test(name);
}

function readableText(text: string): string {
  if (text.includes('-----BEGIN ')) return REDACTED;
  return text.length <= LONGEST_TEXT ? text : `${text.slice(0, LONGEST_TEXT)}… (${String(text.length)} characters)`;
}

function readableError(error: Error, depth: number): unknown {
  const { name, message, stack, cause, ...rest } = error;
  return {
    name,
    message: readableText(message),
    ...readableObject(rest, depth),
    ...(stack === undefined ? {} : { stack: readableText(stack) }),
    ...(cause === undefined ? {} : { cause: readable(cause, depth + 1) }),
  };
}

function readableObject(value: object, depth: number): Record<string, unknown> {
  const entries = Object.entries(value).slice(0, MOST_ITEMS);
  return Object.fromEntries(
    entries.map(([name, item]) => [name, isSecretName(name) ? REDACTED : readable(item, depth + 1)]),
  );
}

function readable(value: unknown, depth: number): unknown {
  if (typeof value === 'string') return readableText(value);
  if (typeof value === 'bigint') return String(value);
  if (typeof value === 'function' || typeof value === 'symbol') return `(${typeof value})`;
  if (typeof value !== 'object' || value === null) return value;
  if (depth > DEEPEST) return '…';
  if (value instanceof Error) return readableError(value, depth);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'invalid date' : value.toISOString();
  if (value instanceof Uint8Array) return `(${String(value.length)} bytes)`;
  if (value instanceof Map) return readableObject(Object.fromEntries(value as Map<PropertyKey, unknown>), depth);
  if (value instanceof Set) return readable([...(value as Set<unknown>)], depth);
  if (Array.isArray(value)) return value.slice(0, MOST_ITEMS).map((item: unknown) => readable(item, depth + 1));
  return readableObject(value, depth);
}

/**
 * The fields of a line as JSON can hold them: bigint as text, errors with their cause, bytes as their number; bounded in
 * depth and length, without anything whose name or form says that it is a secret.
 */
export function readableFields(fields: LogFields): Record<string, unknown> {
  return readableObject(fields, 0);
}
