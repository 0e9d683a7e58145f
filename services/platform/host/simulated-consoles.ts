// SPDX-License-Identifier: Apache-2.0
import type { Consoles } from './consoles.js';

/** Consoles that a test writes to, by path. */
export interface SimulatedConsoles extends Consoles {
  write(path: string, text: string): void;
  /** Somebody rotates it: what was there is gone. */
  truncate(path: string): void;
}

export function createSimulatedConsoles(): SimulatedConsoles {
  const written = new Map<string, Buffer>();
  return {
    write: (path, text) => {
      written.set(path, Buffer.concat([written.get(path) ?? Buffer.alloc(0), Buffer.from(text)]));
    },
    truncate: (path) => {
      written.set(path, Buffer.alloc(0));
    },
    sizeBytes: (path) => Promise.resolve(written.get(path)?.length),
    read: (path, offset, length) => {
      const all = written.get(path) ?? Buffer.alloc(0);
      return Promise.resolve(new Uint8Array(all.subarray(offset, offset + length)));
    },
  };
}
