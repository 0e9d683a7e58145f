// SPDX-License-Identifier: Apache-2.0
import { LockstepError } from '../core/errors/catalogue.js';

const DEFAULT_SIZE = 500;
const LARGEST_SIZE = 5_000;

/** A page of an ordered list: the token names the last item of the page before, so items that come or go shift nothing. */
export function pageOf<T>(
  ordered: readonly T[],
  keyOf: (item: T) => string,
  { pageSize, pageToken }: { pageSize: number; pageToken: string },
): { items: T[]; nextPageToken: string } {
  const size = Math.min(pageSize === 0 ? DEFAULT_SIZE : pageSize, LARGEST_SIZE);
  let start = 0;
  if (pageToken !== '') {
    const last = ordered.findIndex((item) => keyOf(item) === pageToken);
    if (last === -1) {
      throw new LockstepError('PAGE_TOKEN_INVALID', 'page_token: its item is gone; list again from the beginning', {
        field: 'page_token',
        got: pageToken,
        want: 'the next_page_token of the answer before, or nothing',
      });
    }
    start = last + 1;
  }
  const items = ordered.slice(start, start + size);
  const last = items.at(-1);
  const more = start + size < ordered.length;
  return { items, nextPageToken: more && last !== undefined ? keyOf(last) : '' };
}
