// SPDX-License-Identifier: Apache-2.0
import { LockstepError } from '../core/errors/catalogue.js';
import type { RecordCodec, Stored } from '../core/records/codec.js';
import { LostTransaction, readEntry } from '../membership/ledger.js';
import { sleep } from '../platform/clock/clock.js';
import type { TxnOp } from '../platform/store/store.js';
import type { Leading } from './term.js';

const WRITE_TRIES = 3;
const WRITE_AGAIN_MS = 500;

/** The record that a write is about. */
interface Own<T> {
  key: string;
  codec: RecordCodec<T>;
  record: T;
  /** Whether what is on record comes of this write. */
  isOurs: (found: T) => boolean;
}

/**
 * A write that takes room on a node and whose outcome nobody told may happen late, when that room was given to somebody
 * else (INV-6). So it is repeated until it is known: only one of them can go through. Yields the record as it is then:
 * somebody may have gone on with it meanwhile. Fails with LostTransaction, NOT_LEADER, OUTCOME_UNKNOWN.
 */
export async function writeUntilKnown<T extends { etag: string }>(
  { env, term, ledger }: Pick<Leading, 'env' | 'term' | 'ledger'>,
  ops: readonly TxnOp[],
  { key, codec, record, isOurs }: Own<T>,
): Promise<Stored<T>> {
  let unknown: LockstepError | undefined;
  for (let tries = 1; ; tries += 1) {
    try {
      const index = await ledger.write(ops);
      return { record: { ...record, etag: index.toString() }, index };
    } catch (error) {
      if (error instanceof LockstepError && error.reason === 'OUTCOME_UNKNOWN') unknown ??= error;
      if (unknown === undefined) throw error;
      const entry = error instanceof LostTransaction ? await readEntry(env, key).catch(() => undefined) : undefined;
      if (entry !== undefined) {
        const found = codec.decode(entry.value, entry.index);
        if (isOurs(found)) return { record: found, index: entry.index };
        throw error;
      }
      if (tries === WRITE_TRIES || term.ended.aborted) throw unknown;
      // Where the term ends meanwhile, the next try is told so at once.
      await sleep(env.clock, WRITE_AGAIN_MS, term.ended).catch(() => undefined);
    }
  }
}

/** Keeps a VM's room on a node for as long as the work takes that writes it down. */
export async function withRoom<T>({ rehoming }: Pick<Leading, 'rehoming'>, vmId: string, node: string, work: () => Promise<T>): Promise<T> {
  rehoming.set(vmId, node);
  try {
    return await work();
  } finally {
    rehoming.delete(vmId);
  }
}
