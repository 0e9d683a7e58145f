// SPDX-License-Identifier: Apache-2.0
import { invalidXml, quoted } from './document.js';

/** Powers of the prefix letters: a unit is one of them alone or with "iB" (1024) or with "B" (1000). */
const PREFIXES = 'kmgtpe';

/** Bytes of one unit as libvirt counts it, e.g. "KiB", "k", "MB", "bytes"; letters of any case. Undefined: unknown. */
export function unitBytes(unit: string): bigint | undefined {
  const lower = unit.toLowerCase();
  if (lower === 'b' || lower === 'byte' || lower === 'bytes') return 1n;
  const power = lower === '' ? 0 : PREFIXES.indexOf(lower.charAt(0)) + 1;
  if (power === 0) return undefined;
  const rest = lower.slice(1);
  if (rest === '' || rest === 'ib') return 1024n ** BigInt(power);
  return rest === 'b' ? 1000n ** BigInt(power) : undefined;
}

/** A size written as one word, e.g. "64MiB", "100 MB" or "4096" (bytes). Undefined: not a size. */
export function parseSize(text: string): bigint | undefined {
  const match = /^(\d{1,20})\s*([a-z]*)$/i.exec(text.trim());
  if (match === null) return undefined;
  const [, digits = '', unit = ''] = match;
  const scale = unit === '' ? 1n : unitBytes(unit);
  return scale === undefined ? undefined : BigInt(digits) * scale;
}

/** libvirt keeps memory in KiB and in 64 bits; more than that cannot be meant. */
const MOST_MEMORY_BYTES = 2n ** 63n;

/** A size as an element or attribute at `path` gives it, with its unit. Throws INVALID_DOMAIN_XML. */
export function scaled(number: string, unit: string | null, path: string): bigint {
  // libvirt's own default; an empty attribute counts as none.
  const scale = unitBytes(unit === null || unit === '' ? 'KiB' : unit);
  if (scale === undefined) {
    throw invalidXml(`${path}/@unit`, quoted(unit ?? ''), 'b, bytes, KB, k, KiB, MB, M, MiB … EB, E or EiB');
  }
  const want = 'a whole number above 0 and below 8 EiB';
  if (!/^\s*\d{1,20}\s*$/.test(number)) throw invalidXml(path, quoted(number), want);
  const bytes = BigInt(number.trim()) * scale;
  if (bytes === 0n || bytes >= MOST_MEMORY_BYTES) throw invalidXml(path, `${String(bytes)} bytes`, want);
  return bytes;
}
