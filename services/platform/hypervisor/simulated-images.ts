// SPDX-License-Identifier: Apache-2.0
import type { SimulatedGuest } from './simulated-guest.js';

/** Copies of one host that have a process, with the files that each alone may write to. */
type Copies = () => Iterable<{ guest: SimulatedGuest; lockedFiles: readonly string[] }>;

/** Files that every host reaches. The process that writes to one holds its lock, as QEMU does. */
export class SimulatedImages {
  readonly #hosts: Copies[] = [];

  attach(copies: Copies): void {
    this.#hosts.push(copies);
  }

  /** Of these files the first that a process has locked; undefined: none is. */
  lockedOf(files: readonly string[]): string | undefined {
    if (files.length === 0) return undefined;
    const locked = new Set(
      this.#hosts.flatMap((copies) =>
        [...copies()].flatMap(({ guest, lockedFiles }) => (holdsLocks(guest) ? lockedFiles : [])),
      ),
    );
    return files.find((file) => locked.has(file));
  }
}

/** Not while it waits for its memory, and not any more once all of it was sent. */
function holdsLocks({ alive, state }: SimulatedGuest): boolean {
  return alive && !(state.state === 'paused' && state.reason === 'migration');
}
