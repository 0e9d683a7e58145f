// SPDX-License-Identifier: Apache-2.0

/**
 * An agent's durable local memory: one small JSON document. A write is whole or not at all, and on disk (fsync of file
 * and folder) when `save` resolves. `load` yields undefined where nothing was ever saved, and fails on a damaged document:
 * forgetting epochs and floors silently would be unsafe.
 */
export interface DurableState {
  load(): Promise<string | undefined>;
  save(document: string): Promise<void>;
  /** Writes without fsync: survives the process, not the machine. For the mark `finishing` alone. */
  mark(name: string, value: string): Promise<void>;
  readMark(name: string): Promise<string | undefined>;
  clearMark(name: string): Promise<void>;
  /** Differs after every boot of the machine, so that a mark of an earlier boot can be told. */
  bootId(): Promise<string>;
}
