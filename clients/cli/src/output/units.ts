// SPDX-License-Identifier: Apache-2.0
import type { Duration } from '@lockstep/sdk/v1';

const BINARY_UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;
const SECOND_MS = 1000;
const MINUTE_MS = 60 * SECOND_MS;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

/** Stands where there is no value. */
export const NONE = '-';

/** Three digits at most, and no ".0": 1.5, 12, 118. */
function shortNumber(value: number): string {
  return value >= 10 ? value.toFixed(0) : value.toFixed(1).replace(/\.0$/, '');
}

/** Bytes in binary units: "512 MiB". */
export function formatBytes(bytes: bigint | number): string {
  let value = Number(bytes);
  let unit = 0;
  while (value >= 1023.5 && unit < BINARY_UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  return `${shortNumber(value)} ${BINARY_UNITS[unit] ?? 'B'}`;
}

/** Bytes per second: "118 MiB/s". */
export function formatRate(bytesPerSecond: bigint | number): string {
  return `${formatBytes(bytesPerSecond)}/s`;
}

/** A message's duration in milliseconds; undefined where it is absent. */
export function durationMs(duration: Duration | undefined): number | undefined {
  return duration === undefined ? undefined : Number(duration.seconds) * SECOND_MS + duration.nanos / 1e6;
}

/** The other way. */
export function durationOfMs(ms: number): Duration {
  return { seconds: BigInt(Math.floor(ms / SECOND_MS)), nanos: Math.round((ms % SECOND_MS) * 1e6) };
}

/** Milliseconds as two units at most: "0.4 ms", "148 ms", "3.2 s", "4m 12s", "2d 3h". */
export function formatMs(ms: number): string {
  if (ms < 0) return `-${formatMs(-ms)}`;
  if (ms < 999.5) return `${shortNumber(ms)} ms`;
  if (ms < MINUTE_MS - 500) return `${shortNumber(ms / SECOND_MS)} s`;
  const wholeSeconds = Math.round(ms / SECOND_MS) * SECOND_MS;
  if (wholeSeconds < HOUR_MS) return twoUnits(wholeSeconds, MINUTE_MS, 'm', SECOND_MS, 's');
  if (wholeSeconds < DAY_MS) return twoUnits(wholeSeconds, HOUR_MS, 'h', MINUTE_MS, 'm');
  return twoUnits(wholeSeconds, DAY_MS, 'd', HOUR_MS, 'h');
}

function twoUnits(ms: number, majorMs: number, major: string, minorMs: number, minor: string): string {
  return `${String(Math.floor(ms / majorMs))}${major} ${String(Math.floor((ms % majorMs) / minorMs))}${minor}`;
}

/** A duration as `formatMs`, or the sign for none. */
export function formatDuration(duration: Duration | undefined): string {
  const ms = durationMs(duration);
  return ms === undefined ? NONE : formatMs(ms);
}

/** How long ago, in one unit: "12s", "5m", "3h", "2d". */
export function formatAge(time: Date | undefined, nowMs: number): string {
  if (time === undefined) return NONE;
  const ms = Math.max(0, nowMs - time.getTime());
  if (ms < 2 * MINUTE_MS) return `${String(Math.floor(ms / SECOND_MS))}s`;
  if (ms < 2 * HOUR_MS) return `${String(Math.floor(ms / MINUTE_MS))}m`;
  if (ms < 2 * DAY_MS) return `${String(Math.floor(ms / HOUR_MS))}h`;
  return `${String(Math.floor(ms / DAY_MS))}d`;
}

const BYTES_OF_UNIT: Readonly<Record<string, bigint>> = {
  '': 1n,
  b: 1n,
  kb: 1000n,
  mb: 1000n ** 2n,
  gb: 1000n ** 3n,
  tb: 1000n ** 4n,
  kib: 1024n,
  mib: 1024n ** 2n,
  gib: 1024n ** 3n,
  tib: 1024n ** 4n,
};

/** Reads "100MiB", "1.5 GB", "4096", a rate with "/s" too; undefined where it is none of these. */
export function parseBytes(text: string): bigint | undefined {
  const match = /^(\d{1,12})(?:\.(\d{1,3}))?\s*([a-z]*)(?:\/s)?$/i.exec(text.trim());
  const unit = BYTES_OF_UNIT[match?.[3]?.toLowerCase() ?? ''];
  if (match === null || unit === undefined) return undefined;
  const thousandths = BigInt(match[1] ?? '0') * 1000n + BigInt((match[2] ?? '').padEnd(3, '0'));
  return (thousandths * unit) / 1000n;
}

const MS_OF_UNIT: Readonly<Record<string, number>> = {
  ms: 1,
  s: SECOND_MS,
  m: MINUTE_MS,
  h: HOUR_MS,
  d: DAY_MS,
};

/** The longest wait there is: timers of Node end at 2^31 ms. */
export const LONGEST_MS = 24 * DAY_MS;

/** Reads "500ms", "30s", "5m", "2h", "1d" as milliseconds; undefined where it is none of these or above 24 days. */
export function parseDurationMs(text: string): number | undefined {
  const match = /^(\d{1,9}(?:\.\d{1,3})?)\s*(ms|s|m|h|d)$/.exec(text.trim());
  const unitMs = MS_OF_UNIT[match?.[2] ?? ''];
  if (match === null || unitMs === undefined) return undefined;
  const ms = Number(match[1]) * unitMs;
  return ms > 0 && ms <= LONGEST_MS ? ms : undefined;
}
