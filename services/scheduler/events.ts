// SPDX-License-Identifier: Apache-2.0
import { ListEventsResponse, type Event, type ListEventsRequest } from '@lockstep/sdk/v1';
import { keys } from '../core/records/keys.js';
import type { History } from '../membership/history.js';
import { pageOf } from '../membership/pages.js';
import type { Leading } from './term.js';

/** What is kept of events. */
export function eventHistory({ eventRecords }: Pick<Leading, 'eventRecords'>): History<Event> {
  return {
    kind: 'events',
    cache: eventRecords,
    idOf: ({ id }) => id,
    keyOf: keys.event,
    endedAt: ({ time }) => time ?? new Date(0),
    mostKept: 1_000,
    oldestKeptMs: 30 * 24 * 3_600_000,
  };
}

/** Newest first, in pages. */
export function listEvents({ eventRecords }: Leading, { subject, ...page }: ListEventsRequest): ListEventsResponse {
  const newestFirst = eventRecords
    .all()
    .map(({ record }) => record)
    .filter((event) => subject === '' || event.subject === subject)
    .sort((a, b) => (a.id < b.id ? 1 : -1));
  const { items, nextPageToken } = pageOf(newestFirst, ({ id }) => id, page);
  return ListEventsResponse.create({ events: items, nextPageToken });
}
