// SPDX-License-Identifier: Apache-2.0

const UNITS = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** Bytes for people: "512 MiB", "3.5 GiB". At most one decimal, none where it is zero. */
export function formatBytes(bytes: bigint): string {
  let value = Math.abs(Number(bytes));
  let unit = 0;
  while (value >= 1024 && unit < UNITS.length - 1) {
    value /= 1024;
    unit += 1;
  }
  // Rounding may reach the next unit.
  if (Math.round(value * 10) / 10 >= 1024 && unit < UNITS.length - 1) {
    value = 1;
    unit += 1;
  }
  const figure = (Math.round(value * 10) / 10).toString();
  return `${bytes < 0n ? '-' : ''}${figure} ${UNITS[unit] ?? 'B'}`;
}
