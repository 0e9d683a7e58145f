// SPDX-License-Identifier: Apache-2.0
import type { DurableState } from './state.js';

/** A state that lives as long as the object: it survives its agent's restarts, and a `reboot` of its machine. */
export interface MemoryState extends DurableState {
  /** The machine starts anew: another boot ID. Marks stay, as they may on disk. */
  reboot(): void;
}

/** An agent's memory for `dev`, tests and simulation. */
export function createMemoryState(): MemoryState {
  let saved: string | undefined;
  let boots = 1;
  const marks = new Map<string, string>();
  return {
    load: () => Promise.resolve(saved),
    save: (document) => {
      saved = document;
      return Promise.resolve();
    },
    mark: (name, value) => {
      marks.set(name, value);
      return Promise.resolve();
    },
    readMark: (name) => Promise.resolve(marks.get(name)),
    clearMark: (name) => {
      marks.delete(name);
      return Promise.resolve();
    },
    bootId: () => Promise.resolve(`boot-${String(boots)}`),
    reboot: () => {
      boots += 1;
    },
  };
}
