// SPDX-License-Identifier: Apache-2.0
import { constants } from 'node:fs';
import { open, stat } from 'node:fs/promises';

/** Reads what guests wrote to their consoles. */
export interface Consoles {
  /** How much there is, in bytes; undefined: nothing is there (yet). A terminal keeps nothing: 0. */
  sizeBytes(path: string): Promise<number | undefined>;
  /** At most `length` bytes from `offset` on; of a terminal, whatever it has right now. Empty: nothing (yet). */
  read(path: string, offset: number, length: number): Promise<Uint8Array>;
}

/** The files and terminals of this machine. Reading them never waits for a guest. */
export const systemConsoles: Consoles = {
  async sizeBytes(path) {
    try {
      const found = await stat(path);
      return found.isFile() ? found.size : 0;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return undefined;
      throw error;
    }
  },
  async read(path, offset, length) {
    // Not to wait for a writer, and not to become the agent's own terminal.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY);
    try {
      const isFile = (await file.stat()).isFile();
      const { buffer, bytesRead } = await file.read(new Uint8Array(length), 0, length, isFile ? offset : null);
      return buffer.subarray(0, bytesRead);
    } catch (error) {
      if (codeOf(error) === 'EAGAIN' || codeOf(error) === 'EIO') return new Uint8Array();
      throw error;
    } finally {
      await file.close();
    }
  },
};

function codeOf(error: unknown): string {
  return error instanceof Error && 'code' in error && typeof error.code === 'string' ? error.code : '';
}
