// SPDX-License-Identifier: Apache-2.0

/** What a forecast rests on. Bytes, bytes per second, milliseconds. */
export interface ForecastInput {
  /** What the guest has touched, and the first pass sends. */
  touchedBytes: number;
  /** How much of its memory it writes to in a second, measured over one. */
  dirtyRateBytesPerSecond: number;
  bandwidthBytesPerSecond: number;
  pauseBudgetMs: number;
  autoConverge: boolean;
  postCopy: boolean;
}

export interface Forecast {
  durationMs: number;
  downtimeMs: number;
  converges: boolean;
}

/** A pass that is too short to be one, and what handing over takes besides sending. */
const LEAST_PASS_MS = 5;
const HAND_OVER_MS = 20;
/** As QEMU does it: where two looks at the rates disappoint it, it takes a fifth of the vCPUs' time, then a tenth more. */
const THROTTLE = { everyMs: 2_000, initial: 0.2, step: 0.1, most: 0.99 };
const MOST_PASSES = 10_000;
/** Without any help a guest is given up on about this long after its first pass. */
const GIVEN_UP_MS = 25_000;

/** Plays pre-copy through: pass by pass, until what was written meanwhile can be sent within the pause budget. */
export function forecast(input: ForecastInput): Forecast {
  const { touchedBytes, dirtyRateBytesPerSecond, bandwidthBytesPerSecond, pauseBudgetMs, autoConverge, postCopy } = input;
  const sendMs = (amount: number): number => (amount / bandwidthBytesPerSecond) * 1000;
  let remaining = touchedBytes;
  let elapsedMs = 0;
  let throttle = 0;
  let throttledAtMs = 0;
  for (let pass = 1; pass <= MOST_PASSES; pass += 1) {
    const passMs = Math.max(sendMs(remaining), LEAST_PASS_MS);
    elapsedMs += passMs;
    const dirtied = Math.min((dirtyRateBytesPerSecond * (1 - throttle) * passMs) / 1000, touchedBytes);
    if (sendMs(dirtied) <= pauseBudgetMs) {
      const downtimeMs = sendMs(dirtied) + HAND_OVER_MS;
      return { durationMs: elapsedMs + downtimeMs, downtimeMs, converges: true };
    }
    const getsNearer = dirtied < remaining * 0.95;
    if (!getsNearer && postCopy) {
      return { durationMs: elapsedMs + sendMs(dirtied), downtimeMs: HAND_OVER_MS, converges: true };
    }
    if (!getsNearer && !autoConverge) break;
    if (!getsNearer && elapsedMs - throttledAtMs >= THROTTLE.everyMs) {
      throttledAtMs = elapsedMs;
      throttle = Math.min(throttle === 0 ? THROTTLE.initial : throttle + THROTTLE.step, THROTTLE.most);
    }
    remaining = dirtied;
  }
  return { durationMs: elapsedMs + GIVEN_UP_MS, downtimeMs: 0, converges: false };
}
