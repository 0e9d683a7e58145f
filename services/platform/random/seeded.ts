// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../clock/clock.js';
import type { Random } from './random.js';
import { createUuidSource } from './uuid.js';

/** Four well-mixed 32-bit words from any text (FNV-1a with a final avalanche, one start per word). */
function wordsOf(seed: string): [number, number, number, number] {
  const word = (start: number): number => {
    let hash = start;
    for (let i = 0; i < seed.length; i++) {
      hash = Math.imul(hash ^ seed.charCodeAt(i), 0x01000193);
    }
    hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
    hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
    return (hash ^ (hash >>> 16)) >>> 0;
  };
  return [word(0x811c9dc5), word(0x9e3779b9), word(0x7f4a7c15), word(0x2545f491)];
}

/**
 * Chance that repeats itself: the same seed gives the same numbers, and with a virtual clock the same UUIDs.
 * Give each process of a simulation a seed of its own (`"42/h1"`), so that one's draws never shift another's.
 */
export function createSeededRandom({ seed, clock }: { seed: string | number; clock: Clock }): Random {
  let [a, b, c, count] = wordsOf(String(seed));
  // sfc32: small, quick, passes PractRand; not for secrets.
  const next = (): number => {
    const sum = (a + b + count) | 0;
    count = (count + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = ((c << 21) | (c >>> 11)) + sum;
    return (sum >>> 0) / 2 ** 32;
  };
  for (let i = 0; i < 12; i++) next();
  return { next, uuid: createUuidSource(() => clock.wallTime().getTime(), next) };
}
