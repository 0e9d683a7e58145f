// SPDX-License-Identifier: Apache-2.0
import type { Env } from '../platform/env.js';
import type { Logger } from '../platform/log/log.js';
import type { Listing, StoreError } from '../platform/store/store.js';
import { refusalOf } from '../platform/store/trouble.js';
import { createBackOff, isAborted } from './back-off.js';

export interface FollowOptions {
  /** The keys to follow. */
  prefix: string;
  /** Names them in the log, e.g. "the nodes". */
  what: string;
  signal: AbortSignal;
  log: Logger;
  onTrouble?: (error: StoreError) => void;
}

const TROUBLE = { firstMs: 500, mostMs: 10_000 };

/** Hands every listing of a prefix to `take` until the signal aborts. Whatever fails is logged and tried again. */
export async function follow(
  env: Pick<Env, 'clock' | 'random' | 'store'>,
  { prefix, what, signal, log, onTrouble }: FollowOptions,
  take: (listing: Listing) => void,
): Promise<void> {
  const backOff = createBackOff(env, TROUBLE);
  while (!isAborted(signal)) {
    try {
      const listings = env.store.watch(prefix, {
        signal,
        onTrouble: (error) => {
          log.warn(`cannot follow ${what}`, { error: refusalOf(error) });
          onTrouble?.(error);
        },
      });
      for await (const listing of listings) {
        take(listing);
        backOff.reset();
      }
    } catch (error) {
      log.error(`cannot follow ${what}`, { error });
    }
    await backOff.pause(signal);
  }
}
