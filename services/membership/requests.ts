// SPDX-License-Identifier: Apache-2.0
import { invalidField } from '../core/errors/catalogue.js';
import type { RecordCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import type { Env } from '../platform/env.js';
import type { TxnOp } from '../platform/store/store.js';
import { readEntry } from './ledger.js';

const LONGEST = 128;

/** Refuses request IDs that the store could not keep as a key. */
export function checkRequestId(requestId: string): void {
  if (requestId.length <= LONGEST && /^[\w.:-]*$/.test(requestId)) return;
  throw invalidField(
    'request_id',
    `${String(requestId.length)} characters`,
    `at most ${String(LONGEST)} of letters, digits, "_", ".", ":" and "-"`,
  );
}

/**
 * What an earlier request with this ID created; undefined: nothing, or no ID was given. Fails with INVALID_FIELD where it
 * created a record of another kind, or one that is gone.
 */
export async function earlierResult<T>(
  env: Env,
  requestId: string,
  { prefix, codec }: { prefix: string; codec: RecordCodec<T> },
): Promise<T | undefined> {
  if (requestId === '') return undefined;
  const note = await readEntry(env, keys.request(requestId));
  if (note === undefined) return undefined;
  const created = await readEntry(env, note.value);
  if (!note.value.startsWith(prefix) || created === undefined) {
    throw invalidField('request_id', `${requestId}, which created ${note.value}`, 'a new one');
  }
  return codec.decode(created.value, created.index);
}

/** The step that notes what a request created; loses the transaction where the request was noted before. */
export function noteRequest(requestId: string, createdKey: string): TxnOp[] {
  return requestId === '' ? [] : [{ op: 'cas', key: keys.request(requestId), value: createdKey, index: 0n }];
}

/**
 * Requests with the same ID, one after another: who repeats one before it has ended waits, and then finds what it
 * created. Between leaders the note of the request does the same.
 */
export class RequestTurns {
  readonly #running = new Map<string, Promise<unknown>>();

  async inTurn<T>(requestId: string, work: () => Promise<T>): Promise<T> {
    if (requestId === '') return await work();
    for (let before = this.#running.get(requestId); before !== undefined; before = this.#running.get(requestId)) {
      await before.catch(() => undefined);
    }
    const turn = work();
    this.#running.set(requestId, turn);
    try {
      return await turn;
    } finally {
      this.#running.delete(requestId);
    }
  }
}
