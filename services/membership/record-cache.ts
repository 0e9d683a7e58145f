// SPDX-License-Identifier: Apache-2.0
import { nameOf } from '../core/records/keys.js';
import type { RecordCodec, Stored } from '../core/records/codec.js';
import type { Logger } from '../platform/log/log.js';
import type { Listing, Store } from '../platform/store/store.js';

/** Called with the names of the records that changed or went. */
export type CacheListener = (names: readonly string[]) => void;

/**
 * The leader's copy of one kind of record: loaded once by a consistent read, written through by the leader itself and
 * kept up by a watch. As only the leader writes these records, it is never behind the leader's own writes; where
 * another leader has taken over, the session check in every transaction refuses what was decided on it.
 */
export class RecordCache<T> {
  private readonly records = new Map<string, Stored<T>>();
  /** Index of the write that removed a record, so that a watch that is behind does not bring it back. */
  private readonly removed = new Map<string, bigint>();
  private readonly listeners = new Set<CacheListener>();
  private complete = 0n;

  constructor(
    private readonly prefix: string,
    private readonly codec: RecordCodec<T>,
    private readonly log: Logger,
  ) {}

  /** Loads everything, then follows changes until the signal aborts. Resolves once loaded. */
  async open(store: Store, signal: AbortSignal): Promise<void> {
    this.merge(await store.list(this.prefix, { consistency: 'consistent', signal }));
    void this.follow(store, signal);
  }

  get(name: string): Stored<T> | undefined {
    return this.records.get(name);
  }

  all(): Stored<T>[] {
    return [...this.records.values()];
  }

  get size(): number {
    return this.records.size;
  }

  /**
   * Every write up to this index of the store is in here and was told. The leader's own later writes are as well, but
   * not necessarily in the order of their indexes.
   */
  get completeIndex(): bigint {
    return this.complete;
  }

  /** The leader wrote this record. */
  put(name: string, stored: Stored<T>): void {
    const known = this.records.get(name);
    if (known !== undefined && known.index >= stored.index) return;
    this.records.set(name, stored);
    this.tell([name]);
  }

  /** The leader removed this record by a transaction with this index. */
  remove(name: string, index: bigint): void {
    if (!this.records.delete(name)) return;
    this.removed.set(name, index);
    this.tell([name]);
  }

  /** Returns a function that ends the listening. */
  onChange(listener: CacheListener): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  private async follow(store: Store, signal: AbortSignal): Promise<void> {
    const onTrouble = (error: Error): void => {
      this.log.warn(`watch of ${this.prefix} is in trouble: ${error.message}`);
    };
    for await (const listing of store.watch(this.prefix, { signal, onTrouble })) this.merge(listing);
  }

  private merge(listing: Listing): void {
    const changed: string[] = [];
    const present = new Set<string>();
    for (const { key, value, index } of listing.entries) {
      const name = nameOf(key);
      present.add(name);
      const known = this.records.get(name);
      if (known !== undefined ? known.index >= index : (this.removed.get(name) ?? 0n) >= index) continue;
      try {
        this.records.set(name, { record: this.codec.decode(value, index), index });
        changed.push(name);
      } catch (error) {
        this.log.error(`${key} cannot be read and is left alone`, { error });
      }
    }
    for (const [name, stored] of this.records) {
      // A listing that is older than our own write of a record cannot tell that it is gone.
      if (present.has(name) || stored.index > listing.index) continue;
      this.records.delete(name);
      changed.push(name);
    }
    this.complete = listing.index;
    for (const [name, index] of this.removed) if (index <= listing.index) this.removed.delete(name);
    if (changed.length > 0) this.tell(changed);
  }

  private tell(names: readonly string[]): void {
    for (const listener of this.listeners) listener(names);
  }
}
