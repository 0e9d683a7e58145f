// SPDX-License-Identifier: Apache-2.0

/** What one host's serial file of a guest holds. */
export interface SerialOutput {
  host: string;
  text: string;
}

export type Continuity =
  | {
      ok: true;
      /** The last whole value that was printed; 0 when there is none. */
      last: number;
      /** How often the output went on in another host's file. */
      moves: number;
    }
  | {
      ok: false;
      /** `repeated`: a value came twice or the count went back; `skipped`: one is missing; `damaged`: no value at all. */
      kind: 'repeated' | 'skipped' | 'damaged';
      /** The last value before it that was right. */
      last: number;
      message: string;
    };

/** One way to have read the files so far. */
interface Reading {
  /** Characters read of each file. */
  positions: readonly number[];
  /** The file that was read last. */
  current: number;
  moves: number;
}

const lineLength = 9;

export const formatCount = (value: number) => value.toString(16).padStart(8, '0');

/**
 * Checks that the files of all hosts together are one output of one guest: every value from 1 on, each exactly one
 * above the one before, in the order of each file.
 *
 * A guest can move in the middle of a line: then one file holds its beginning and the other one the rest. So the files
 * are read as what they must be, parts of one known text: at each character, every file that goes on with it may be
 * the one. Few readings live longer than a line; if none is left, no order of the parts makes the text.
 */
export function checkContinuity(files: readonly SerialOutput[]): Continuity {
  const total = files.reduce((sum, file) => sum + file.text.length, 0);
  let readings: Reading[] = [{ positions: files.map(() => 0), current: -1, moves: -1 }];
  let atLineStart = readings;
  let line = '';
  for (let offset = 0; offset < total; offset += 1) {
    const value = Math.floor(offset / lineLength) + 1;
    if (offset % lineLength === 0) {
      line = `${formatCount(value)}\n`;
      atLineStart = readings;
    }
    readings = advance(files, readings, line.charAt(offset % lineLength));
    if (readings.length === 0) return explain(files, atLineStart, value);
  }
  const fewest = Math.min(...readings.map((reading) => reading.moves));
  return { ok: true, last: Math.floor(total / lineLength), moves: Math.max(0, fewest) };
}

function advance(files: readonly SerialOutput[], readings: readonly Reading[], wanted: string): Reading[] {
  const next = new Map<string, Reading>();
  for (const reading of readings) {
    for (const [index, file] of files.entries()) {
      if (file.text.charAt(reading.positions[index] ?? 0) !== wanted) continue;
      const positions = reading.positions.map((position, each) => (each === index ? position + 1 : position));
      const moves = reading.moves + (index === reading.current ? 0 : 1);
      const key = positions.join();
      if (moves < (next.get(key)?.moves ?? Infinity)) next.set(key, { positions, current: index, moves });
    }
  }
  return [...next.values()];
}

/** Says what the files hold where the value `expected` should be. */
function explain(files: readonly SerialOutput[], readings: readonly Reading[], expected: number): Continuity {
  const [reading] = [...readings].sort((a, b) => a.moves - b.moves);
  const found = files.map(({ host, text }, index) => {
    const position = reading?.positions[index] ?? 0;
    const [line = ''] = text.slice(position).split('\n');
    const lineNumber = text.slice(0, position).split('\n').length;
    const value = /^[0-9a-f]{8}$/.test(line) ? Number.parseInt(line, 16) : undefined;
    return { host, line, lineNumber, value, ended: position >= text.length };
  });
  const going = found.filter((each) => !each.ended);
  const values = going.flatMap((each) => (each.value === undefined ? [] : [each.value]));
  const kind = values.some((value) => value < expected) ? 'repeated' : values.length > 0 ? 'skipped' : 'damaged';
  const where = found.map(({ host, line, lineNumber, ended }) =>
    ended ? `${host} has no more` : `${host} goes on with ${JSON.stringify(line.slice(0, 40))} in line ${lineNumber}`,
  );
  const after = expected === 1 ? 'at the beginning' : `after ${formatCount(expected - 1)}`;
  return { ok: false, kind, last: expected - 1, message: `${after}, ${formatCount(expected)} should follow: ${where.join(', ')}` };
}
