// SPDX-License-Identifier: Apache-2.0
import type { Duration } from '@lockstep/sdk/v1';

/** Milliseconds as the API writes a length of time. */
export function durationOf(ms: number): Duration {
  const whole = Math.max(0, Math.round(ms * 1e6));
  return { seconds: BigInt(Math.floor(whole / 1e9)), nanos: whole % 1e9 };
}

/** The other way; `absent` where none was given. */
export function milliseconds(duration: Duration | undefined, absent: number): number {
  return duration === undefined ? absent : Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}
