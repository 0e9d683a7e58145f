// SPDX-License-Identifier: Apache-2.0
import { LockstepError } from '../core/errors/catalogue.js';

/**
 * Where a watch stands: the store's index up to which it has told everything. The store's records are what survives a
 * leader, so a token of one leader holds at the next.
 */
export function tokenOf(kind: string, index: bigint): string {
  return `${kind}.${index.toString()}`;
}

/**
 * The index that a token stands for; undefined: there is none. Fails with RESUME_TOKEN_EXPIRED where what came after it
 * cannot be told any more: it was pruned, or the store is another one.
 */
export function indexOfToken(kind: string, token: string, kept: { prunedUpTo: bigint; complete: bigint }): bigint | undefined {
  if (token === '') return undefined;
  const index = new RegExp(`^${kind}\\.(\\d{1,20})$`).exec(token)?.[1];
  if (index === undefined) throw expired(`it is none of a watch of ${kind}`);
  const from = BigInt(index);
  if (from < kept.prunedUpTo) throw expired('what came after it is kept no longer');
  if (from > kept.complete) throw expired('the store does not know it');
  return from;
}

function expired(why: string): LockstepError {
  return new LockstepError('RESUME_TOKEN_EXPIRED', `resume_token: ${why}; watch again without it and take the snapshot`, {
    field: 'resume_token',
  });
}
