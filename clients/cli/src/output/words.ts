// SPDX-License-Identifier: Apache-2.0
import type {
  DrainState,
  Fenceability,
  FenceActionState,
  MigrationState,
  NodeJudgement,
  NodeMode,
  VmDesired,
  VmState,
} from '@lockstep/sdk/v1';
import { NONE } from './units.js';

/** A generated enum: its words and their numbers. */
type Enumeration = Readonly<Record<string, number>>;

/** The word of an enum's value. A value that a newer server knows and this program does not is shown by its number. */
export function wordOf(enumeration: Enumeration, value: number): string {
  if (value === 0) return NONE;
  for (const [word, number] of Object.entries(enumeration)) {
    if (number === value && value > 0) return word;
  }
  return `UNRECOGNIZED(${String(value)})`;
}

type Words<E> = Exclude<keyof E, 'UNSPECIFIED' | 'UNRECOGNIZED'>;
type StateWord =
  | Words<typeof VmState>
  | Words<typeof VmDesired>
  | Words<typeof MigrationState>
  | Words<typeof DrainState>
  | Words<typeof NodeJudgement>
  | Words<typeof NodeMode>
  | Words<typeof Fenceability>
  | Words<typeof FenceActionState>;

export type Colour = 'green' | 'yellow' | 'red' | 'cyan' | 'dim';

/** Green is well, yellow on its way or to be watched, red needs a person, cyan moves, dim is at rest. */
const COLOUR_OF_STATE = {
  // VMs
  STOPPED: 'dim',
  STARTING: 'yellow',
  RUNNING: 'green',
  STOPPING: 'yellow',
  PAUSED: 'yellow',
  MIGRATING: 'cyan',
  MIGRATING_LIVE: 'cyan',
  CRASHED: 'red',
  WAITING_FENCE: 'red',
  WAITING_TARGET: 'red',
  FROZEN: 'yellow',
  ERROR: 'red',
  UNMANAGED: 'dim',
  UNKNOWN: 'yellow',
  DISABLED: 'dim',
  // migrations
  PENDING: 'yellow',
  PREPARING: 'cyan',
  PREPARED: 'cyan',
  TRANSFERRING: 'cyan',
  COMMITTING: 'cyan',
  SHUTTING_DOWN: 'cyan',
  ABORTING: 'yellow',
  UNCERTAIN: 'red',
  SUCCEEDED: 'green',
  ABORTED: 'yellow',
  FAILED: 'red',
  // fence actions
  REQUESTED: 'yellow',
  HELD: 'red',
  CONFIRMED: 'green',
  // drains
  PLANNED: 'yellow',
  BLOCKED: 'red',
  DRAINED: 'green',
  CANCELLED: 'yellow',
  // nodes
  ALIVE: 'green',
  LEAVING: 'yellow',
  SUSPECT: 'yellow',
  DEAD_UNPROVEN: 'red',
  DEAD_PROVEN: 'red',
  ACTIVE: 'green',
  MAINTENANCE: 'yellow',
  CORDONED: 'yellow',
  FENCEABLE: 'green',
  NOT_FENCEABLE: 'red',
} as const satisfies Record<StateWord, Colour>;

/** The one table of colours; undefined for words that have none, and for states of a newer server. */
export function colourOfState(word: string): Colour | undefined {
  return Object.hasOwn(COLOUR_OF_STATE, word) ? COLOUR_OF_STATE[word as StateWord] : undefined;
}
