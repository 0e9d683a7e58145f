// SPDX-License-Identifier: Apache-2.0
import { type Connection, describeLifecycle } from '@lockstep/node-libvirt';
import type { EventFeed } from './event-feed.js';

const SUBSCRIBE_LIMIT_MS = 5_000;

/** Passes a fresh connection's events on to the feed until it ends. Whatever was missed before: `resync`. */
export async function passOnEvents(connection: Connection, feed: Pick<EventFeed, 'emit'>): Promise<void> {
  const kinds = ['lifecycle', 'migration-iteration'] as const;
  const subscription = await connection.events.subscribe(kinds, { deadlineMs: SUBSCRIBE_LIMIT_MS });
  feed.emit({ kind: 'resync' });
  const passOn = async (): Promise<void> => {
    for await (const event of subscription) {
      if (event.kind === 'lost') {
        feed.emit({ kind: 'resync' });
      } else if (event.kind === 'lifecycle') {
        const what = describeLifecycle(event.change, event.detail);
        feed.emit({ kind: 'changed', uuid: event.domain.uuid, what });
      } else {
        feed.emit({ kind: 'iteration', uuid: event.domain.uuid, iteration: event.iteration });
      }
    }
  };
  // It fails when the connection ends, which its owner sees.
  void passOn().catch(() => undefined);
}
