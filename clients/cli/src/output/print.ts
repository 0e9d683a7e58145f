// SPDX-License-Identifier: Apache-2.0
import { stringify } from 'yaml';
import type { Terminal } from '../terminal.js';
import { painterFor, printable, type Painter } from './style.js';
import { renderTable, type Column } from './table.js';

export const FORMATS = ['table', 'wide', 'json', 'yaml', 'name'] as const;
export type Format = (typeof FORMATS)[number];

/** How one kind of thing is shown. Columns and details get the time at which they are shown, for ages. */
export interface View<T> {
  columns: (nowMs: number) => readonly Column<T>[];
  /** What `-o name` prints: what other commands take. */
  name: (item: T) => string;
  /** Proto's JSON. */
  toJson: (item: T) => unknown;
  /** The long form, for one thing; without it one row of the table. */
  details?: (item: T, page: Page) => string;
}

/** What a long form needs to know of where it is shown. */
export interface Page {
  nowMs: number;
  paint: Painter;
  table: <R>(columns: readonly Column<R>[], rows: readonly R[]) => string;
}

/** Prints data on stdout in the format asked for. */
export class Printer {
  readonly #paint: Painter;

  constructor(
    private readonly terminal: Terminal,
    private readonly format: Format,
    private readonly headers: boolean,
  ) {
    this.#paint = painterFor(terminal.outIsTty, terminal.env);
  }

  /** Several things: a table, or an array. `none` is said on stderr where there is nothing for a table. */
  list<T>(view: View<T>, items: readonly T[], none: string): void {
    if (this.#program(items.map(view.toJson), items.map(view.name))) return;
    if (items.length === 0) this.terminal.err(`${none}\n`);
    else this.terminal.out(this.#table(view.columns(this.terminal.now()), items));
  }

  /** One thing as a row. */
  row<T>(view: View<T>, item: T): void {
    if (this.#program(view.toJson(item), [view.name(item)])) return;
    this.terminal.out(this.#table(view.columns(this.terminal.now()), [item]));
  }

  /** One thing with everything there is to say of it. */
  details<T>(view: View<T>, item: T): void {
    if (view.details === undefined) {
      this.row(view, item);
      return;
    }
    if (this.#program(view.toJson(item), [view.name(item)])) return;
    const page: Page = {
      nowMs: this.terminal.now(),
      paint: this.#paint,
      table: (columns, rows) => this.#table(columns, rows),
    };
    this.terminal.out(view.details(item, page));
  }

  /** One of many that come one by one: a line of its own, or a document. */
  next<T>(view: View<T>, item: T): void {
    const { terminal } = this;
    if (this.format === 'json') terminal.out(`${JSON.stringify(view.toJson(item))}\n`);
    else if (this.format === 'yaml') terminal.out(`---\n${stringify(view.toJson(item))}`);
    else if (this.format === 'name') terminal.out(`${printable(view.name(item))}\n`);
    else terminal.out(this.#table(view.columns(terminal.now()), [item], false));
  }

  /** Something was done that leaves nothing to show: programs get the answer, or the name of what it was. */
  done(json: unknown, name: string): void {
    this.#program(json, [name]);
  }

  #table<T>(columns: readonly Column<T>[], items: readonly T[], headers = this.headers): string {
    return renderTable(columns, items, {
      wide: this.format === 'wide',
      headers,
      paint: this.#paint,
      width: this.terminal.outColumns,
    });
  }

  /** The formats for programs; false where a person is to be served. */
  #program(json: unknown, names: readonly string[]): boolean {
    switch (this.format) {
      case 'json':
        this.terminal.out(`${JSON.stringify(json, null, 2)}\n`);
        return true;
      case 'yaml':
        this.terminal.out(stringify(json));
        return true;
      case 'name':
        this.terminal.out(names.map((name) => (name === '' ? '' : `${printable(name)}\n`)).join(''));
        return true;
      case 'table':
      case 'wide':
        return false;
    }
  }
}
