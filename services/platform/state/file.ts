// SPDX-License-Identifier: Apache-2.0
import { renameSync, writeFileSync } from 'node:fs';
import { mkdir, open, readFile, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { DurableState } from './state.js';

/** Where {@link openFileState} keeps things. */
export interface FileStateOptions {
  /** A folder of the agent's own, made if need be. */
  folder: string;
  /** What tells one boot from another; the kernel's unless told. */
  bootIdFile?: string | undefined;
}

const DOCUMENT = 'state.json';
const MARK_SUFFIX = '.mark';

function isMissing(error: unknown): boolean {
  return error instanceof Error && 'code' in error && error.code === 'ENOENT';
}

async function readIfThere(file: string): Promise<string | undefined> {
  try {
    return await readFile(file, 'utf8');
  } catch (error) {
    if (isMissing(error)) return undefined;
    throw error;
  }
}

async function syncFolder(folder: string): Promise<void> {
  const handle = await open(folder, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}

/** Whole or not at all: a crash at any point leaves the old content or the new one, never a piece. */
async function replaceDurably(file: string, content: string): Promise<void> {
  const fresh = `${file}.new`;
  const handle = await open(fresh, 'w', 0o600);
  try {
    await handle.writeFile(content);
    await handle.sync();
  } finally {
    await handle.close();
  }
  await rename(fresh, file);
  await syncFolder(dirname(file));
}

/** Checks that a document is whole. `save` only ever writes JSON, so anything else is damage. */
function assertWhole(file: string, content: string): void {
  try {
    JSON.parse(content);
  } catch {
    throw new Error(
      `${file} is damaged. It keeps which leaders and placements this host obeyed; the agent does not start without it. ` +
        'Move the file away only after `lockstep node show` says that no VM of this node is moving.',
    );
  }
}

/** Runs jobs one after another, so that the last save called is the last one on disk. */
function inTurn(): <T>(job: () => Promise<T>) => Promise<T> {
  let last: Promise<unknown> = Promise.resolve();
  return (job) => {
    const result = last.then(job, job);
    last = result.catch(() => undefined);
    return result;
  };
}

function markFile(folder: string, name: string): string {
  if (!/^[\w.-]{1,128}$/.test(name)) throw new Error(`a mark's name is letters, digits, dot, dash: got ${name}`);
  return join(folder, `${name}${MARK_SUFFIX}`);
}

/** An agent's memory in files: `state.json` and one file per mark, readable by its user alone. */
export async function openFileState(options: FileStateOptions): Promise<DurableState> {
  const { folder, bootIdFile = '/proc/sys/kernel/random/boot_id' } = options;
  const made = await mkdir(folder, { recursive: true, mode: 0o700 });
  if (made !== undefined) await syncFolder(dirname(made));
  const document = join(folder, DOCUMENT);
  const turn = inTurn();
  return {
    load: async () => {
      const content = await readIfThere(document);
      if (content !== undefined) assertWhole(document, content);
      return content;
    },
    save: (content) => turn(() => replaceDurably(document, content)),
    // A guest stands still while this is written: two calls into the page cache are done in a tenth of a millisecond,
    // while the way over the thread pool and back, four times, takes 3 to 15 ms on a busy host.
    mark: (name, value) => {
      try {
        // Renamed into place: a reader never sees half a mark, even after the process died while it wrote.
        const file = markFile(folder, name);
        writeFileSync(`${file}.new`, value, { mode: 0o600 });
        renameSync(`${file}.new`, file);
        return Promise.resolve();
      } catch (error) {
        return Promise.reject(error instanceof Error ? error : new Error(String(error)));
      }
    },
    readMark: (name) => readIfThere(markFile(folder, name)),
    clearMark: (name) => rm(markFile(folder, name), { force: true }),
    bootId: async () => (await readFile(bootIdFile, 'utf8')).trim(),
  };
}
