// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../clock/clock.js';
import type { Random } from '../random/random.js';
import { storeOn } from './assemble.js';
import type { StoreDriver } from './driver.js';
import { EmbeddedServer } from './embedded-server.js';
import type { Store } from './store.js';

/** A store server in this process, with Consul's semantics. It lives as long as the process and writes no files. */
export interface EmbeddedStore {
  /** The store as one client process sees it. Sessions belong to the client; its name stands for its node. */
  store(clientName: string): Store;
  /** The connection beneath {@link EmbeddedStore.store}, to be decorated with faults and handed to `storeOn`. */
  driver(clientName: string): StoreDriver;
  /** What Consul does when it learns that a node failed: ends this client's sessions that are tied to node health. */
  failNode(clientName: string): void;
  /** What Consul does when it hears of a node again. */
  healNode(clientName: string): void;
  /** Stops the timers of sessions that nobody released, so that the process can end. Watches end by their signals. */
  close(): void;
}

/** Purely on `clock` and `random`: under a virtual clock and a seed it behaves the same way every time. */
export function createEmbeddedStore({ clock, random }: { clock: Clock; random: Random }): EmbeddedStore {
  const server = new EmbeddedServer(clock, random);
  const driver = (clientName: string): StoreDriver => ({
    get: async (key, { signal }) => answer(signal, () => server.get(key)),
    list: async (prefix, { wait, signal }) => {
      if (wait !== undefined) await server.changed(prefix, wait, signal);
      return answer(signal, () => server.list(prefix));
    },
    txn: async (ops, signal) => answer(signal, () => server.txn(ops)),
    createSession: async (spec, signal) => answer(signal, () => server.createSession(clientName, spec)),
    renewSession: async (session, signal) => answer(signal, () => server.renewSession(session)),
    destroySession: async (session, signal) => {
      await answer(signal, () => {
        server.endSession(session);
      });
    },
    members: async (signal) => answer(signal, () => server.members()),
  });
  const known = (clientName: string): StoreDriver => {
    server.meet(clientName);
    return driver(clientName);
  };
  return {
    store: (clientName) => storeOn(known(clientName), { clock, random }),
    driver: known,
    failNode: (clientName) => {
      server.failNode(clientName);
    },
    healNode: (clientName) => {
      server.healNode(clientName);
    },
    close: () => {
      server.close();
    },
  };
}

/** Every call is a turn of its own, as over a network; one that was given up on before has no effect. */
async function answer<T>(signal: AbortSignal, work: () => T): Promise<T> {
  await Promise.resolve();
  signal.throwIfAborted();
  return work();
}
