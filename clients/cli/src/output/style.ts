// SPDX-License-Identifier: Apache-2.0
import type { Colour } from './words.js';

const SGR: Readonly<Record<Colour | 'bold', string>> = {
  green: '32',
  yellow: '33',
  red: '31',
  cyan: '36',
  dim: '2',
  bold: '1',
};

/** Puts a text into a colour, or leaves it as it is. */
export type Painter = (text: string, colour: Colour | 'bold' | undefined) => string;

/** Colours only on a terminal that has them, and never where NO_COLOR is set to something. */
export function painterFor(isTty: boolean, env: Readonly<Record<string, string | undefined>>): Painter {
  const off = !isTty || (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb';
  return (text, colour) => (off || colour === undefined ? text : `\u001b[${SGR[colour]}m${text}\u001b[0m`);
}

/** One line without control characters: names and details come from elsewhere and must not steer the terminal. */
export function printable(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]+/gu, ' ');
}

/** Cuts a text to a width, with an ellipsis for the rest. */
export function cut(text: string, width: number): string {
  return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
}
