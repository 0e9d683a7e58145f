// SPDX-License-Identifier: Apache-2.0
import { Selector } from '@lockstep/sdk/v1';
import { InvalidArgumentError, Option, type Command } from 'commander';
import { parseBytes, parseDurationMs } from './output/units.js';

/** Readers of option values for commander; each says what it wants. */

export function durationArgument(text: string): number {
  const ms = parseDurationMs(text);
  if (ms === undefined) throw new InvalidArgumentError('Want a duration up to 24d, e.g. 500ms, 30s, 5m, 2h.');
  return ms;
}

export function bytesArgument(text: string): bigint {
  const bytes = parseBytes(text);
  if (bytes === undefined || bytes === 0n) throw new InvalidArgumentError('Want a size, e.g. 100MiB, 1GiB, 125MB.');
  return bytes;
}

export function countArgument(text: string): number {
  const count = /^\d{1,6}$/.test(text) ? Number(text) : 0;
  if (count < 1) throw new InvalidArgumentError('Want a whole number from 1 to 999999.');
  return count;
}

/** How urgent a move is. The cluster knows which are taken. */
export function priorityArgument(text: string): number {
  if (!/^-?\d{1,4}$/.test(text)) throw new InvalidArgumentError('Want a whole number from -100 to 99.');
  return Number(text);
}

/** A whole number between two, both allowed. */
export function wholeNumberArgument(least: number, most: number): (text: string) => number {
  return (text) => {
    const number = /^-?\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
    if (number >= least && number <= most) return number;
    throw new InvalidArgumentError(`Want a whole number from ${String(least)} to ${String(most)}.`);
  };
}

/** A factor. The cluster knows which are sensible. */
export function ratioArgument(text: string): number {
  const ratio = /^\d{1,4}(\.\d{1,4})?$/.test(text) ? Number(text) : 0;
  if (ratio <= 0) throw new InvalidArgumentError('Want a number above 0, e.g. 1.5.');
  return ratio;
}

/** What takes a setting back. */
export const DEFAULT = 'default';

/** Takes what `read` takes, and the word that takes a setting back. */
export function orDefault<T>(read: (text: string) => T): (text: string) => T | typeof DEFAULT {
  return (text) => (text === DEFAULT ? DEFAULT : read(text));
}

/** What is written of an option that may be taken back. */
export function settingOf<T>(given: T | typeof DEFAULT): T | undefined {
  return given === DEFAULT ? undefined : given;
}

/** An option that takes one of these words. */
export function wordOption(flags: string, description: string, words: Readonly<Record<string, unknown>>): Option {
  return new Option(flags, description).choices(Object.keys(words));
}

/** Names and IDs: anything but nothing. The cluster knows the rest. */
export function nameArgument(text: string): string {
  if (text.trim() === '') throw new InvalidArgumentError('Want a name, not an empty text.');
  return text;
}

/** `--wait` and its limit. */
export interface WaitOptions {
  wait?: boolean;
  /** Limit of the wait in milliseconds. */
  timeout: number;
}

export function addWaitOptions(command: Command, until: string, limit: string): Command {
  return command
    .option('--wait', `wait until ${until}`)
    .addOption(timeoutOption('how long to wait; the work goes on afterwards', limit));
}

/** An option that takes a duration in milliseconds, with its default as people write it. */
export function durationOption(flags: string, description: string, limit: string): Option {
  return new Option(flags, description).argParser(durationArgument).default(durationArgument(limit), limit);
}

export function timeoutOption(description: string, limit: string): Option {
  return durationOption('--timeout <duration>', description, limit);
}

/** How a node is chosen, as the CLI says it. */
export const SELECTORS = {
  default: Selector.UNSPECIFIED,
  mem: Selector.MEM,
  memfree: Selector.MEMFREE,
  load: Selector.LOAD,
  vcpus: Selector.VCPUS,
  vms: Selector.VMS,
} as const;
