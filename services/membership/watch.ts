// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../platform/clock/clock.js';

/** What a watch sends: everything first, then what changed, then empty messages so that silence means trouble. */
export interface WatchMessage<T> {
  snapshot: boolean;
  changed: T[];
  gone: string[];
}

/** Where a watch looks. `subscribe` calls back with the names of what changed and returns how to stop that. */
export interface WatchSource<T> {
  all(): T[];
  get(name: string): T | undefined;
  nameOf(item: T): string;
  subscribe(changed: (names: readonly string[]) => void): () => void;
}

const HEARTBEAT_MS = 5_000;
const COALESCE_MS = 50;

/**
 * Messages for one watcher until one of the signals aborts. What changes while the watcher is busy is merged, so a slow one costs
 * a bounded amount of memory and always ends up with the newest state.
 */
export async function* watchMessages<T>(
  clock: Clock,
  source: WatchSource<T>,
  signals: readonly AbortSignal[],
): AsyncGenerator<WatchMessage<T>, void, undefined> {
  const pending = new Set<string>();
  let wake = (): void => undefined;
  const onAbort = (): void => {
    wake();
  };
  const unsubscribe = source.subscribe((names) => {
    for (const name of names) pending.add(name);
    wake();
  });
  for (const signal of signals) signal.addEventListener('abort', onAbort);
  const over = (): boolean => signals.some((signal) => signal.aborted);
  const wait = (ms: number, alsoWake: boolean): Promise<void> =>
    new Promise((resolve) => {
      const timer = clock.after(ms, resolve);
      wake = alsoWake
        ? () => {
            timer.stop();
            resolve();
          }
        : () => undefined;
    });
  try {
    yield { snapshot: true, changed: source.all(), gone: [] };
    while (!over()) {
      if (pending.size === 0) await wait(HEARTBEAT_MS, true);
      if (over()) return;
      if (pending.size > 0) await wait(COALESCE_MS, false);
      const names = [...pending];
      pending.clear();
      const changed: T[] = [];
      const gone: string[] = [];
      for (const name of names) {
        const item = source.get(name);
        if (item === undefined) gone.push(name);
        else changed.push(item);
      }
      yield { snapshot: false, changed, gone };
    }
  } finally {
    for (const signal of signals) signal.removeEventListener('abort', onAbort);
    unsubscribe();
  }
}
