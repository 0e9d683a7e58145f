// SPDX-License-Identifier: Apache-2.0
import { usageError } from './exit.js';
import type { Terminal } from './terminal.js';

/** Asks for a node's name again: typing it is what keeps a person from naming the wrong one. `danger` is a sentence. */
export async function retyped(terminal: Terminal, danger: string): Promise<string> {
  if (!terminal.canAsk) throw usageError('CONFIRM_MISSING', 'give --confirm with the name of the node again');
  return (await terminal.ask(`${danger} Type its name again: `)).trim();
}
