// SPDX-License-Identifier: Apache-2.0
import { sleep } from '../../platform/clock/clock.js';
import type { Leading } from '../term.js';

const RECHECK_EVERY_MS = 5_000;
/** Changes that come together bring one look. */
const COALESCE_MS = 200;

/**
 * Calls `look` after every change of records and nodes, and every few seconds, for as long as the term lasts: one look at
 * a time, and one more after a change during it. A look that fails is logged; the next one makes up for it.
 */
export function byLevel(leading: Leading, name: string, look: () => Promise<void>): void {
  const { vms, migrations, drains, nodes, term, env } = leading;
  let looking = false;
  let dirty = false;
  const run = async (): Promise<void> => {
    dirty = true;
    if (looking) return;
    looking = true;
    try {
      while (dirty && !term.ended.aborted) {
        dirty = false;
        await look().catch((error: unknown) => {
          env.log.child(name).warn('this look failed', { error });
        });
        await sleep(env.clock, COALESCE_MS, term.ended).catch(() => undefined);
      }
    } finally {
      looking = false;
    }
  };
  const wake = (): void => {
    void run();
  };
  vms.onChange(wake);
  migrations.onChange(wake);
  drains.onChange(wake);
  nodes.onChange(wake);
  const recheck = (): void => {
    if (term.ended.aborted) return;
    wake();
    env.clock.after(RECHECK_EVERY_MS, recheck);
  };
  recheck();
}
