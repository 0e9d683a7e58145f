// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';
import { JUDGEMENT_LIMITS } from '../core/judgement/facts.js';
import { commonKeys } from '../platform/process/run.js';
import type { FencerTimings } from './fencer.js';

/** Fewer than three throws would let a single lost heartbeat and a slow second one fence a node. */
const FEWEST_THROWS = 3;

const timingsSchema = z
  .strictObject({
    /** Saving throws a silent node has. */
    throws: z.int().min(FEWEST_THROWS).max(100).default(JUDGEMENT_LIMITS.throwsTotal),
    /** Seconds between two throws. */
    throw_seconds: z.number().min(1).max(60).default(JUDGEMENT_LIMITS.throwMs / 1_000),
    /** Seconds a node that said it leaves may be silent before its throws begin. */
    leaving_seconds: z.number().min(0).max(86_400).default(JUDGEMENT_LIMITS.leavingLimitMs / 1_000),
  })
  .transform(({ throws, throw_seconds, leaving_seconds }): FencerTimings => {
    const throwMs = throw_seconds * 1_000;
    return {
      lookEveryMs: throwMs / 5,
      judgement: {
        throwsTotal: throws,
        throwMs,
        observerStallMs: throwMs,
        leavingLimitMs: leaving_seconds * 1_000,
      },
    };
  });

/** The Fencer's configuration file. */
export const fencerSchema = z.strictObject({ ...commonKeys, timings: timingsSchema.prefault({}) });
