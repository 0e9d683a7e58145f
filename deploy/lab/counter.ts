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
      /** `repeated`: a value came twice or the count went back; `skipped`: one is missing; `damaged`: no value. */
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

export const formatCount = (value: number) => value.toString(16).padStart(lineLength - 1, '0');

/**
 * Checks that the files of all hosts together are one output of one guest: every value from 1 on, each exactly one
 * above the one before, in the order of each file.
 *
 * A guest can move in the middle of a line: then one file holds its beginning and another one the rest. So the files
 * are read as what they must be, parts of one known text. If there is no order of the parts that makes the text, the
 * guest did not print it.
 *
 * @param first - the value that the output begins with
 */
export function checkContinuity(files: readonly SerialOutput[], first = 1): Continuity {
  // A line that a file holds whole is nearly always from there, and following every other way to put it together
  // takes ten times as long. Only if that leads nowhere, the parts are tried in every order.
  const quick = read(files, first, preferWhole);
  return quick.ok ? quick : read(files, first, everyWay);
}

type LineReader = (files: readonly SerialOutput[], reading: Reading, line: string) => Reading[];

function read(files: readonly SerialOutput[], first: number, readLine: LineReader): Continuity {
  const total = files.reduce((sum, file) => sum + file.text.length, 0);
  let readings: Reading[] = [{ positions: files.map(() => 0), current: -1, moves: -1 }];
  for (let offset = 0, value = first; offset < total; offset += lineLength, value += 1) {
    const line = `${formatCount(value)}\n`.slice(0, total - offset);
    const next = fewestMoves(readings.flatMap((reading) => readLine(files, reading, line)));
    if (next.length === 0) return explain(files, readings, value, first);
    readings = next;
  }
  const moves = Math.min(...readings.map((reading) => reading.moves));
  return { ok: true, last: first - 1 + Math.floor(total / lineLength), moves: Math.max(0, moves) };
}

const preferWhole: LineReader = (files, reading, line) => {
  const whole = goingOn(files, reading, line);
  return whole.length > 0 ? whole : everyWay(files, reading, line);
};

const everyWay: LineReader = (files, reading, line) =>
  Array.from(line).reduce(
    (readings, character) => fewestMoves(readings.flatMap((each) => goingOn(files, each, character))),
    [reading],
  );

/** One reading for each file that goes on with the text. */
function goingOn(files: readonly SerialOutput[], reading: Reading, text: string): Reading[] {
  return files.flatMap((file, index) => {
    if (!file.text.startsWith(text, reading.positions[index])) return [];
    const positions = reading.positions.map((position, each) => (each === index ? position + text.length : position));
    return [{ positions, current: index, moves: reading.moves + (index === reading.current ? 0 : 1) }];
  });
}

/** Of the readings that have come to the same places, the simplest. */
function fewestMoves(readings: readonly Reading[]): Reading[] {
  const best = new Map<string, Reading>();
  for (const reading of readings) {
    const key = `${reading.positions.join()} ${reading.current}`;
    if (reading.moves < (best.get(key)?.moves ?? Infinity)) best.set(key, reading);
  }
  return [...best.values()];
}

/** Says what the files hold where the value `expected` should be. */
function explain(
  files: readonly SerialOutput[],
  readings: readonly Reading[],
  expected: number,
  first: number,
): Continuity {
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
  const after = expected === first ? 'at the beginning' : `after ${formatCount(expected - 1)}`;
  return {
    ok: false,
    kind,
    last: expected - 1,
    message: `${after}, ${formatCount(expected)} should follow: ${where.join(', ')}`,
  };
}
