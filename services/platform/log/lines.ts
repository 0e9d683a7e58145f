// SPDX-License-Identifier: Apache-2.0
import type { LogFields, Logger, LogState } from './log.js';
import { readableFields } from './readable.js';

/** One line, ready to be written. */
export interface LogLine {
  state: LogState;
  /** The subtask it came from, e.g. `keepalive/vms`; empty for the service itself. */
  task: string;
  message: string;
  fields: Record<string, unknown>;
  /** Milliseconds since the previous line of the same logger; only on debug lines. */
  sinceMs?: number;
}

/** What loggers of one service share. */
export interface LogSink {
  /** Whether debug lines are wanted right now. */
  debug: boolean;
  nowMs(): number;
  write(line: LogLine): void;
}

/** A logger that hands its lines to a sink. */
export function linesTo(sink: LogSink, task = ''): Logger {
  let previousMs = sink.nowMs();
  const log = (state: LogState, message: string, fields: LogFields = {}): void => {
    if (state === 'd' && !sink.debug) return;
    const nowMs = sink.nowMs();
    const line: LogLine = { state, task, message, fields: readableFields(fields) };
    if (state === 'd') line.sinceMs = Math.round((nowMs - previousMs) * 10) / 10;
    previousMs = nowMs;
    sink.write(line);
  };
  return {
    log,
    ok: (message, fields) => {
      log('o', message, fields);
    },
    error: (message, fields) => {
      log('e', message, fields);
    },
    warn: (message, fields) => {
      log('w', message, fields);
    },
    info: (message, fields) => {
      log('i', message, fields);
    },
    debug: (message, fields) => {
      log('d', message, fields);
    },
    child: (subtask) => linesTo(sink, task === '' ? subtask : `${task}/${subtask}`),
  };
}
