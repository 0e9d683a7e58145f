// SPDX-License-Identifier: Apache-2.0
import { cut, printable, type Painter } from './style.js';
import { NONE } from './units.js';
import type { Colour } from './words.js';

/** A column of a table of `T`. */
export interface Column<T> {
  header: string;
  /** The cell's text; empty is shown as the sign for none. */
  text: (item: T) => string;
  colour?: (item: T) => Colour | undefined;
  align?: 'right';
  /** Shown by `-o wide` only. */
  wide?: true;
  /** Free text: cut where the terminal is too narrow. Only the last column may have it. */
  shrinks?: true;
}

export interface TableOptions {
  wide: boolean;
  headers: boolean;
  paint: Painter;
  /** Columns of the terminal; undefined: nothing is cut. */
  width: number | undefined;
}

const SPACE = '  ';
const LEAST_SHRUNK_WIDTH = 12;

/** A table with two spaces between columns and no lines; each row ends with a line end. */
export function renderTable<T>(columns: readonly Column<T>[], items: readonly T[], options: TableOptions): string {
  const shown = columns.filter((column) => options.wide || column.wide !== true);
  const rows = items.map((item) => shown.map((column) => cellText(column, item)));
  const widths = shown.map((column, index) =>
    Math.max(options.headers ? column.header.length : 0, ...rows.map((row) => row[index]?.length ?? 0)),
  );
  const room = roomForLast(widths, options.width);
  const lines: string[] = [];
  if (options.headers) {
    const bold = (text: string): string => options.paint(text, 'bold');
    lines.push(line(shown.map((column, index) => pad(column, column.header, widths[index], bold))));
  }
  for (const [rowIndex, item] of items.entries()) {
    const cells = shown.map((column, index) => {
      const whole = rows[rowIndex]?.[index] ?? '';
      const text = column.shrinks === true && room !== undefined ? cut(whole, room) : whole;
      return pad(column, text, widths[index], (visible) => options.paint(visible, column.colour?.(item)));
    });
    lines.push(line(cells));
  }
  return lines.join('');
}

function cellText<T>(column: Column<T>, item: T): string {
  const text = printable(column.text(item));
  return text === '' ? NONE : text;
}

/** Colour goes around the text alone, so that the padding stays what it is. */
function pad<T>(column: Column<T>, text: string, width = 0, paint: (text: string) => string): string {
  const padding = ' '.repeat(Math.max(0, width - text.length));
  return column.align === 'right' ? padding + paint(text) : paint(text) + padding;
}

function line(cells: readonly string[]): string {
  return `${cells.join(SPACE).trimEnd()}\n`;
}

function roomForLast(widths: readonly number[], width: number | undefined): number | undefined {
  if (width === undefined) return undefined;
  const before = widths.slice(0, -1).reduce((sum, each) => sum + each + SPACE.length, 0);
  return Math.max(LEAST_SHRUNK_WIDTH, width - before);
}

/** Facts of one thing, one a line: label, value. Facts without a value are left out. */
export type Facts = readonly (readonly [label: string, value: string, colour?: Colour | undefined])[];

export function renderFacts(facts: Facts, paint: Painter): string {
  const told = facts.filter(([, value]) => value !== '' && value !== NONE);
  const width = Math.max(0, ...told.map(([label]) => label.length));
  return told
    .map(([label, value, colour]) => `${paint(label.padEnd(width), 'bold')}  ${paint(printable(value), colour)}\n`)
    .join('');
}
