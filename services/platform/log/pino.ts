// SPDX-License-Identifier: Apache-2.0
import { pino } from 'pino';
import { systemClock } from '../clock/system.js';
import { linesTo, type LogLine } from './lines.js';
import type { Logger, LogState } from './log.js';
import { prettyLine } from './pretty.js';

export { createMemoryLogger, type MemoryLogger } from './memory.js';

/** How {@link createLogger} writes. */
export interface LoggerOptions {
  /** The service, e.g. `scheduler`, or service and node. */
  name: string;
  /** For people instead of programs; by default where standard error is a terminal. */
  pretty?: boolean | undefined;
  /** By default on a terminal, unless NO_COLOR is set. */
  colour?: boolean | undefined;
  /** Write debug lines from the start. */
  debug?: boolean | undefined;
  /** Standard error unless told. */
  destination?: { write(text: string): unknown } | undefined;
}

/** The logger of a whole service. */
export interface RootLogger extends Logger {
  /** Switches debug lines on or off, here and in every child. */
  setDebug(on: boolean): void;
}

const levels: Record<LogState, 'error' | 'warn' | 'info' | 'debug'> = {
  o: 'info',
  e: 'error',
  w: 'warn',
  t: 'info',
  i: 'info',
  s: 'info',
  d: 'debug',
};

/** One JSON object a line: level, time (ISO 8601), name, state, task, msg, then the line's fields under `fields`. */
function jsonWriter(name: string, destination: { write(text: string): unknown }): (line: LogLine) => void {
  const settings = {
    base: { name },
    level: 'debug',
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label: string) => ({ level: label }) },
  };
  const logger = pino(settings, { write: (text: string) => void destination.write(text) });
  return ({ state, task, message, fields, sinceMs }) => {
    logger[levels[state]]({ state, task, sinceMs, ...(Object.keys(fields).length > 0 && { fields }) }, message);
  };
}

function prettyWriter(name: string, destination: { write(text: string): unknown }, colour: boolean) {
  return (line: LogLine): void => {
    destination.write(prettyLine(name, line, systemClock.wallTime(), colour));
  };
}

/** A service's logger: coloured text for people on a terminal, JSON lines for everything else. */
export function createLogger(options: LoggerOptions): RootLogger {
  const { name, destination = process.stderr, debug = false } = options;
  const onTerminal = destination === process.stderr && process.stderr.isTTY;
  const pretty = options.pretty ?? onTerminal;
  const colour = options.colour ?? (onTerminal && (process.env['NO_COLOR'] ?? '') === '');
  const write = pretty ? prettyWriter(name, destination, colour) : jsonWriter(name, destination);
  const sink = { debug, nowMs: () => systemClock.nowMs(), write };
  return {
    ...linesTo(sink),
    setDebug: (on) => {
      sink.debug = on;
    },
  };
}
