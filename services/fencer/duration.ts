// SPDX-License-Identifier: Apache-2.0
import type { Duration } from '@lockstep/sdk/v1';

/** Milliseconds as the API writes a duration. */
export function toDuration(durationMs: number): Duration {
  const wholeMs = Math.max(0, Math.round(durationMs));
  return { seconds: BigInt(Math.floor(wholeMs / 1_000)), nanos: (wholeMs % 1_000) * 1_000_000 };
}
