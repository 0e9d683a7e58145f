// SPDX-License-Identifier: Apache-2.0
import { systemClock } from '../clock/system.js';
import { linesTo, type LogLine, type LogSink } from './lines.js';
import type { Logger } from './log.js';

/** A logger that keeps its lines, debug ones too. */
export interface MemoryLogger extends Logger {
  readonly lines: readonly LogLine[];
}

/** Keeps at most this many of the latest lines. */
const MOST_LINES = 10_000;

/** A logger for tests. */
export function createMemoryLogger(nowMs: () => number = () => systemClock.nowMs()): MemoryLogger {
  const lines: LogLine[] = [];
  const sink: LogSink = {
    debug: true,
    nowMs,
    write: (line) => {
      if (lines.push(line) > MOST_LINES) lines.shift();
    },
  };
  return { ...linesTo(sink), lines };
}
