// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import type { Random } from './random.js';
import { createUuidSource } from './uuid.js';

const next = (): number => Number(randomBytes(8).readBigUInt64BE() >> 11n) / 2 ** 53;

/** The machine's own randomness, of cryptographic quality. */
export const systemRandom: Random = { next, uuid: createUuidSource(Date.now, next) };
