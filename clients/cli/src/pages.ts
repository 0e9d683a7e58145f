// SPDX-License-Identifier: Apache-2.0
import { CommandError, ExitCode } from './exit.js';

const PAGE_SIZE = 1000;
const MOST_PAGES = 1000;

interface PageRequest {
  pageSize: number;
  pageToken: string;
}

/** Reads one page of a list; an empty token stands for the first page, and for none after it. */
export type ReadPage<T> = (request: PageRequest) => Promise<{ items: readonly T[]; nextPageToken: string }>;

/** All items of a paged list, at most `limit`. */
export async function allPages<T>(read: ReadPage<T>, limit = Number.POSITIVE_INFINITY): Promise<T[]> {
  const items: T[] = [];
  let pageToken = '';
  for (let page = 0; page < MOST_PAGES; page += 1) {
    const answer = await read({ pageSize: Math.min(PAGE_SIZE, limit - items.length), pageToken });
    items.push(...answer.items);
    if (answer.nextPageToken === '' || items.length >= limit) return items.slice(0, limit);
    pageToken = answer.nextPageToken;
  }
  throw new CommandError(ExitCode.FAILED, 'LIST_ENDLESS', `the list has not ended after ${String(MOST_PAGES)} pages`);
}
