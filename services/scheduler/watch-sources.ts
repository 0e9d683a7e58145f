// SPDX-License-Identifier: Apache-2.0
import type { Event, Migration, Node, Vm } from '@lockstep/sdk/v1';
import { isTerminal } from '../core/migration/transitions.js';
import type { Stored } from '../core/records/codec.js';
import { keys, nameOf } from '../core/records/keys.js';
import { readEntries } from '../membership/ledger.js';
import type { MigrationQueue } from './migrations/queue.js';
import { lookAtNodes, nodesNow } from './nodes/view.js';
import type { RecordCache } from '../membership/record-cache.js';
import type { Leading } from './term.js';
import { withStatus } from './vms/status.js';
import type { WatchSource } from '../membership/watch.js';

/** VMs with their live state. A resumed watch is told all of them: what their nodes said meanwhile is in no store. */
export function vmSource(leading: Leading): WatchSource<Vm> {
  const { vms, migrations, nodes } = leading;
  const all = (): Vm[] => vms.all().map(({ record }) => withStatus(leading, record)).sort(byName);
  return {
    all,
    look: () => (id) => {
      const stored = vms.get(id);
      return stored === undefined ? undefined : withStatus(leading, stored.record);
    },
    subscribe: (changed) =>
      together(
        vms.onChange(changed),
        migrations.onChange((ids) => {
          changed(ids.flatMap((id) => migrations.get(id)?.record.vmId ?? []));
        }),
        nodes.onChange(() => {
          changed(vms.all().map(({ record }) => record.id));
        }),
      ),
    completeIndex: () => vms.completeIndex,
    since: async (index) => ({ changed: all(), gone: await undefinedSince(leading, index) }),
  };
}

/** An undefined VM leaves its last placement epoch in the store, written with the deed. */
async function undefinedSince({ env, vms }: Leading, index: bigint): Promise<string[]> {
  const entries = await readEntries(env, keys.vmEpochs);
  return entries.filter((entry) => entry.index > index).map(({ key }) => nameOf(key)).filter((id) => vms.get(id) === undefined);
}

/** Migrations with what only the leader knows of those that are open. `only` one of them, or all where it is empty. */
export function migrationSource({ migrations }: Leading, queue: MigrationQueue, only: string): WatchSource<Migration> {
  const wanted = (id: string): boolean => only === '' || id === only;
  const those = (which: (stored: Stored<Migration>) => boolean): Migration[] =>
    migrations
      .all()
      .filter((stored) => wanted(stored.record.id) && which(stored))
      .map(({ record }) => queue.live(record))
      .sort(newestFirst);
  return {
    all: () => those(() => true),
    look: () => (id) => {
      const stored = migrations.get(id);
      return stored === undefined ? undefined : queue.live(stored.record);
    },
    subscribe: (changed) =>
      together(
        migrations.onChange((ids) => {
          changed(ids.filter(wanted));
        }),
        queue.onLive((id) => {
          if (wanted(id)) changed([id]);
        }),
      ),
    completeIndex: () => migrations.completeIndex,
    // One that is asked for by its ID is told in any case: the watch ends with its end.
    since: (index) =>
      Promise.resolve({
        changed: those(({ record, index: own }) => own > index || only !== '' || !isTerminal(record.state)),
        gone: [],
      }),
  };
}

/** Nodes with their figures. A resumed watch is told all of them. */
export function nodeSource(leading: Leading): WatchSource<Node> {
  const { nodes } = leading;
  return {
    all: () => nodesNow(leading),
    look: () => lookAtNodes(leading),
    subscribe: (changed) => {
      const names = (): string[] => nodes.nodes().map(({ name }) => name);
      let before = names();
      return nodes.onChange(() => {
        const now = names();
        // Also those that are there no more.
        changed([...new Set([...before, ...now])]);
        before = now;
      });
    },
    completeIndex: () => 0n,
    since: () => Promise.resolve({ changed: nodesNow(leading), gone: [] }),
  };
}

/** Events in the order in which the store took them; without a token only those to come. */
export function eventSource({ eventRecords }: Leading): WatchSource<Stored<Event>> {
  return {
    all: () => [],
    look: () => (id) => eventRecords.get(id),
    subscribe: (changed) => eventRecords.onChange(changed),
    completeIndex: () => eventRecords.completeIndex,
    since: (index) => Promise.resolve({ changed: eventRecords.all().filter((stored) => stored.index > index), gone: [] }),
  };
}

/** Records that change by writes alone, e.g. drains. */
export function recordSource<T extends { id: string }>(cache: RecordCache<T>): WatchSource<T> {
  const newest = (which: (stored: Stored<T>) => boolean): T[] =>
    cache.all().filter(which).map(({ record }) => record).sort(newestFirst);
  return {
    all: () => newest(() => true),
    look: () => (id) => cache.get(id)?.record,
    subscribe: (changed) => cache.onChange(changed),
    completeIndex: () => cache.completeIndex,
    since: (index) => Promise.resolve({ changed: newest((stored) => stored.index > index), gone: [] }),
  };
}

/** Ends several listenings as one. */
function together(...ends: (() => void)[]): () => void {
  return () => {
    for (const end of ends) end();
  };
}

export function byName(a: { name: string }, b: { name: string }): number {
  return a.name < b.name ? -1 : 1;
}

export function newestFirst(a: { id: string }, b: { id: string }): number {
  return a.id < b.id ? 1 : -1;
}
