// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../clock/clock.js';
import type { Metrics } from '../metrics/metrics.js';
import { timed } from '../metrics/timed.js';
import { LockHeld, StoreError, type Store, type StoreErrorKind } from './store.js';

/** Taking a lease is left out of the times: it waits for whoever holds it. */
const CALLS = ['get', 'list', 'txn', 'members'] as const satisfies readonly (keyof Store)[];

const FAILURES: Readonly<Record<StoreErrorKind, true>> = {
  unavailable: true,
  deadline: true,
  denied: true,
  'unknown-outcome': true,
  invalid: true,
};

/** The same store, with the time of its calls and every failure counted, those inside watches and leases too. */
export function measuredStore(store: Store, metrics: Metrics, clock: Clock): Store {
  const seconds = metrics.histogram({
    name: 'lockstep_store_call_seconds',
    help: 'How long calls to the store take.',
    labels: { call: CALLS },
  });
  const failures = metrics.counter({
    name: 'lockstep_store_failures_total',
    help: 'Calls to the store that failed, by call and kind.',
    labels: { call: [...CALLS, 'watch', 'acquire'], kind: Object.keys(FAILURES) },
  });
  const failed = (call: string, error: unknown): void => {
    if (error instanceof StoreError) failures.add({ call, kind: error.kind });
  };
  for (const kind of Object.keys(FAILURES)) failures.add({ call: 'get', kind }, 0);
  const observed = timed(store, {
    calls: CALLS,
    nowMs: () => clock.nowMs(),
    observe: (call, tookMs, error) => {
      seconds.observe({ call }, tookMs / 1_000);
      failed(call, error);
    },
  });
  return {
    get: (key, options) => observed.get(key, options),
    list: (prefix, options) => observed.list(prefix, options),
    txn: (ops, options) => observed.txn(ops, options),
    members: (options) => observed.members(options),
    watch: (prefix, { signal, onTrouble }) =>
      store.watch(prefix, {
        signal,
        onTrouble: (error) => {
          failed('watch', error);
          onTrouble?.(error);
        },
      }),
    acquire: async (options) => {
      try {
        return await store.acquire(options);
      } catch (error) {
        // A lock that another one holds is no failure of the store.
        if (!(error instanceof LockHeld)) failed('acquire', error);
        throw error;
      }
    },
  };
}
