// SPDX-License-Identifier: Apache-2.0
import type { LogLine } from './lines.js';
import type { LogState } from './log.js';

const colours: Record<LogState, number> = { o: 32, e: 31, w: 33, t: 90, i: 36, s: 35, d: 37 };

/** Control characters as escapes: what a guest or a peer wrote must not move a terminal's cursor. */
function plain(text: string): string {
  return text.replace(/\p{Cc}/gu, (char) => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`);
}

function field([name, value]: [string, unknown]): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return `${name}=${/[\s"=]/.test(text) && typeof value === 'string' ? JSON.stringify(text) : text}`;
}

/** The part of a line that an error's stack adds below it. */
function stackOf(fields: Record<string, unknown>): string {
  const error = fields['error'];
  if (typeof error !== 'object' || error === null || !('stack' in error) || typeof error.stack !== 'string') return '';
  return `\n${error.stack.split('\n').map((line) => `    ${plain(line.trim())}`).join('\n')}`;
}

function shortFields(fields: Record<string, unknown>): [string, unknown][] {
  return Object.entries(fields).map(([name, value]) => {
    const message: unknown = typeof value === 'object' && value !== null ? Reflect.get(value, 'message') : undefined;
    return [name, name === 'error' && typeof message === 'string' ? message : value];
  });
}

/** A line for people: time, state, service and subtask, message, fields. */
export function prettyLine(service: string, line: LogLine, wallTime: Date, colour: boolean): string {
  const time = wallTime.toISOString().slice(11, 23);
  const where = line.task === '' ? service : `${service} ${line.task}`;
  const since = line.sinceMs === undefined ? '' : ` +${String(line.sinceMs)}ms`;
  const fields = shortFields(line.fields).map((entry) => ` ${plain(field(entry))}`).join('');
  const text = `${time} ${line.state} ${plain(where)}: ${plain(line.message)}${fields}${since}`;
  const painted = colour ? `\x1b[${String(colours[line.state])}m${text}\x1b[0m` : text;
  return `${painted}${stackOf(line.fields)}\n`;
}
