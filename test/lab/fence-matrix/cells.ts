// SPDX-License-Identifier: Apache-2.0
import { bmcModeNames, type BmcMode } from '#lab';

/** How a host dies: with everything on it; to the others only, as both its cables are pulled; its agent hangs. */
export const DEATHS = ['crash', 'cut', 'hang'] as const;
export type Death = (typeof DEATHS)[number];

export type FailingMode = Exclude<BmcMode, 'up'>;
export const MODES: readonly FailingMode[] = bmcModeNames.filter((mode) => mode !== 'up');

export interface Cell {
  mode: BmcMode;
  death: Death;
}

export const keyOf = ({ mode, death }: Cell): string => `${mode} × ${death}`;

export const allCells = (): Cell[] => MODES.flatMap((mode) => DEATHS.map((death) => ({ mode, death })));

/**
 * `starts`: the host is proven dead, and the VM runs elsewhere. `waits`: nothing proves it, the action is UNCERTAIN and
 * says what is missing, nothing starts. `refused`: the device says off and the host runs on: the storage's lock refuses
 * the second copy, or the Fencer sees through it. `left alone`: only the agent is silent, and its host lives, with the
 * guest on it: nobody is fenced, and the evidence says why.
 */
export type Ending = 'starts' | 'waits' | 'refused' | 'left alone';

export function expectedEnding({ mode, death }: Cell): Ending {
  if (death === 'hang') return isEndOf(mode) ? 'starts' : 'left alone';
  switch (mode) {
    case 'up':
    case 'slow':
    case 'drops':
    case 'already-off':
    case 'watchdog':
    case 'back-after-60-s':
    case 'second-device':
      return 'starts';
    case 'dead':
    case 'wrong-password':
    case 'accepts-only':
    case 'stuck-on':
      return 'waits';
    case 'lies-off':
      return death === 'crash' ? 'starts' : 'refused';
    case 'dies-with-host':
      return death === 'crash' ? 'waits' : 'starts';
  }
}

/** Whether it ends the host whose agent hangs: somebody's hand does, and the watchdog that nobody feeds. */
const isEndOf = (mode: BmcMode): boolean => mode === 'already-off' || mode === 'watchdog';

/** Which service reads at its start what this mode is about. */
export function restartedFor(mode: BmcMode): { part: 'node-agent' | 'fencer'; everywhere: boolean } | undefined {
  if (mode === 'watchdog') return { part: 'node-agent', everywhere: false };
  if (mode === 'second-device') return { part: 'fencer', everywhere: true };
  return undefined;
}
