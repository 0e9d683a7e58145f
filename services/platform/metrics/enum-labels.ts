// SPDX-License-Identifier: Apache-2.0

/** An enum's values as labels. */
export interface EnumLabels {
  /** Every value's label, and `unrecognized`. */
  readonly all: readonly string[];
  /** The label of a value; of one that this build does not know, `unrecognized`. Never throws. */
  of(value: number | string | undefined): string;
}

const UNRECOGNIZED = 'unrecognized';

/** Labels of a generated enum: its names in small letters. Total by construction, whatever a newer peer sends. */
export function enumLabels(enumeration: Readonly<Record<string, number | string>>): EnumLabels {
  const names = new Map(Object.entries(enumeration).map(([name, value]) => [value, name.toLowerCase()]));
  return {
    all: [...new Set([...names.values(), UNRECOGNIZED])],
    of: (value) => (value === undefined ? undefined : names.get(value)) ?? UNRECOGNIZED,
  };
}
