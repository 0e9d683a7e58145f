// SPDX-License-Identifier: Apache-2.0
import type { Migration } from '@lockstep/sdk/v1';
import type { Terminal } from '../terminal.js';
import { cut, painterFor, printable, type Painter } from './style.js';
import { formatBytes, formatDuration, formatRate } from './units.js';
import { migrationState } from './views/migration.js';
import { colourOfState } from './words.js';

const CLEAR_LINE = '\r\u001b[K';

/**
 * A migration's progress on stderr: one line that is written over on a terminal; elsewhere one line for each change of
 * state.
 */
export class Progress {
  readonly #paint: Painter;
  #state = '';
  #lineShown = false;

  constructor(private readonly terminal: Terminal) {
    this.#paint = painterFor(terminal.errIsTty, terminal.env);
  }

  show(migration: Migration): void {
    if (this.terminal.errIsTty) this.#overwrite(migration);
    else this.#append(migration);
  }

  /** Takes the progress line away again. */
  end(): void {
    if (this.#lineShown) this.terminal.err(CLEAR_LINE);
    this.#lineShown = false;
  }

  #overwrite(migration: Migration): void {
    const state = migrationState(migration);
    const text = `${moveOf(migration)}  ${state}${partOf(migration)}`;
    const width = (this.terminal.errColumns ?? 80) - 1;
    // Painted after cutting: a colour that is cut off would run on.
    const line = cut(printable(text), width).replace(state, (word) => this.#paint(word, colourOfState(state)));
    this.terminal.err(CLEAR_LINE + line);
    this.#lineShown = true;
  }

  #append(migration: Migration): void {
    const state = migrationState(migration);
    if (state === this.#state) return;
    this.#state = state;
    const why = [migration.reason, migration.waitingReason, migration.detail].filter((part) => part !== '').join(': ');
    this.terminal.err(printable(`${moveOf(migration)}  ${state}${why === '' ? '' : `  ${why}`}`) + '\n');
  }
}

function moveOf({ vmName, sourceNode, targetNode }: Migration): string {
  return `${vmName} ${sourceNode} → ${targetNode}`;
}

/** Memory sent and left, dirty rate, bandwidth, estimate; what it waits for where it does. */
function partOf(migration: Migration): string {
  const progress = migration.progress;
  if (progress === undefined) return migration.waitingReason === '' ? '' : `  ${migration.waitingReason}`;
  const figures = [
    `${formatBytes(progress.memorySentBytes)} sent, ${formatBytes(progress.memoryRemainingBytes)} left`,
    `dirty ${formatRate(progress.dirtyRateBytesPerSecond)}`,
    formatRate(progress.bandwidthBytesPerSecond),
  ];
  if (progress.estimate !== undefined) figures.push(`~${formatDuration(progress.estimate)}`);
  return `  ${figures.join(' · ')}`;
}
