// SPDX-License-Identifier: Apache-2.0

const HEX_16_BIT = 4;

/**
 * A source of UUIDs, version 7 (RFC 9562). Those of one source are strictly ordered, also within a millisecond and
 * when the wall clock steps back: the 12 bits after the time count up from a random start.
 */
export function createUuidSource(wallTimeMs: () => number, next: () => number): () => string {
  let lastMs = 0;
  let count = 0;
  const bits = (width: number): number => Math.floor(next() * 2 ** width);
  const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

  return () => {
    const nowMs = Math.floor(wallTimeMs());
    if (nowMs > lastMs) {
      lastMs = nowMs;
      count = bits(11);
    } else if (++count > 0xfff) {
      lastMs += 1;
      count = bits(11);
    }
    const time = hex(lastMs, 12);
    const variant = hex(0x8000 + bits(14), HEX_16_BIT);
    const tail = hex(bits(16), HEX_16_BIT) + hex(bits(32), 8);
    return `${time.slice(0, 8)}-${time.slice(8)}-7${hex(count, 3)}-${variant}-${tail}`;
  };
}
