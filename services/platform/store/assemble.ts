// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../clock/clock.js';
import type { Logger } from '../log/log.js';
import type { Random } from '../random/random.js';
import { StoreCalls } from './calls.js';
import type { StoreDriver } from './driver.js';
import { acquireLease } from './lease.js';
import type { Store } from './store.js';
import { watchPrefix } from './watch.js';

/** A store on any driver: limits, deadlines, leases and watches are the same for all. */
export function storeOn(driver: StoreDriver, env: { clock: Clock; random: Random; log?: Logger }): Store {
  const calls = new StoreCalls(driver, env.clock);
  return {
    get: (key, options) => calls.get(key, options),
    list: (prefix, options) => calls.list(prefix, options),
    txn: (ops, options) => calls.txn(ops, options),
    watch: (prefix, options) => watchPrefix(calls, env, prefix, options),
    members: (options) => calls.members(options),
    acquire: (options) => acquireLease(calls, env, options),
  };
}
