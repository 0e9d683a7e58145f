// SPDX-License-Identifier: Apache-2.0
import { MigrationState, VmState } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { painterFor, printable } from './style.js';
import { renderFacts, renderTable, type Column } from './table.js';
import { colourOfState, wordOf } from './words.js';

interface Row {
  name: string;
  state: string;
  why: string;
}

const columns: readonly Column<Row>[] = [
  { header: 'NAME', text: (row) => row.name },
  { header: 'STATE', text: (row) => row.state, colour: (row) => colourOfState(row.state) },
  { header: 'ID', text: () => 'id', wide: true },
  { header: 'WHY', text: (row) => row.why, shrinks: true },
];
const rows: readonly Row[] = [
  { name: 'a', state: 'RUNNING', why: '' },
  { name: 'long-name', state: 'ERROR', why: 'a reason that is longer than the terminal has room for' },
];
const plain = painterFor(false, {});
const options = { wide: false, headers: true, paint: plain, width: undefined };

describe('tables', () => {
  it('line up, show a sign for nothing, and have no trailing spaces', () => {
    const lines = renderTable(columns, rows, options).split('\n');
    expect(lines[0]).toBe('NAME       STATE    WHY');
    expect(lines[1]).toBe('a          RUNNING  -');
    expect(lines[2]).toBe('long-name  ERROR    a reason that is longer than the terminal has room for');
  });

  it('show more when wide', () => {
    expect(renderTable(columns, rows, { ...options, wide: true })).toMatch(/^NAME +STATE +ID +WHY\n/);
  });

  it('cut free text to the terminal, and nothing else', () => {
    const text = renderTable(columns, rows, { ...options, width: 40 });
    expect(Math.max(...text.split('\n').map((line) => line.length))).toBe(40);
    expect(text).toContain('long-name  ERROR    a reason');
  });

  it('are as aligned in colour as without', () => {
    const paint = painterFor(true, {});
    const coloured = renderTable(columns, rows, { ...options, paint });
    expect(coloured).toContain('\u001b[32mRUNNING\u001b[0m');
    // eslint's rule against control characters in patterns: the escape is put in by hand.
    const escape = new RegExp(`${String.fromCharCode(27)}\\[\\d+m`, 'g');
    expect(coloured.replace(escape, '')).toBe(renderTable(columns, rows, options));
  });

  it('do not let a name steer the terminal', () => {
    const text = renderTable(columns, [{ name: 'x\u001b[2J\ny', state: 'RUNNING', why: '\u202eevil' }], options);
    expect(text).not.toMatch(/[\u001b\u202e]/u);
    expect(text.split('\n')).toHaveLength(3);
  });
});

describe('facts', () => {
  it('leave out what is not known', () => {
    expect(renderFacts([['Name', 'a'], ['Reason', ''], ['Downtime', '-']], plain)).toBe('Name  a\n');
  });
});

describe('colours', () => {
  it.each([
    [true, {}, true],
    [false, {}, false],
    [true, { NO_COLOR: '1' }, false],
    [true, { NO_COLOR: '' }, true],
    [true, { TERM: 'dumb' }, false],
  ])('on a terminal: %s, with %j: %s', (isTty, env, coloured) => {
    expect(painterFor(isTty, env)('text', 'red') !== 'text').toBe(coloured);
  });
});

describe('words', () => {
  it('name values, and those that only a newer server knows', () => {
    expect(wordOf(MigrationState, MigrationState.ABORTED)).toBe('ABORTED');
    expect(wordOf(VmState, 0)).toBe('-');
    expect(wordOf(VmState, 77)).toBe('UNRECOGNIZED(77)');
    expect(wordOf(VmState, -1)).toBe('UNRECOGNIZED(-1)');
    expect(colourOfState('UNRECOGNIZED(77)')).toBeUndefined();
    expect(colourOfState('toString')).toBeUndefined();
  });

  it('keep one line', () => {
    expect(printable('a\r\nb\tc')).toBe('a b c');
  });
});
