// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../platform/clock/clock.js';

/** What a watch sends: everything or what was missed, then what changed, then empty messages so that silence means trouble. */
export interface WatchMessage<T> {
  snapshot: boolean;
  changed: T[];
  gone: string[];
  /** Everything up to this index of the store has been told with this message. */
  index: bigint;
}

/** Where a watch looks. `subscribe` calls back with the names of what changed and returns how to stop that. */
export interface WatchSource<T> {
  all(): T[];
  /** What is there now, by name. What holds for all that are asked for is worked out once a look. */
  look(): (name: string) => T | undefined;
  subscribe(changed: (names: readonly string[]) => void): () => void;
  /** The store's index up to which everything is known here and was told to subscribers. */
  completeIndex(): bigint;
  /** What changed or went after an index of the store, and whatever may have changed without the store's knowing. */
  since(index: bigint): Promise<Missed<T>>;
}

export interface Missed<T> {
  changed: T[];
  gone: string[];
}

const HEARTBEAT_MS = 5_000;
const COALESCE_MS = 50;

export interface WatchOptions {
  /** The watch ends with the first that aborts. */
  signals: readonly AbortSignal[];
  /** The index of the token it resumes from; undefined: it begins with a snapshot. */
  from: bigint | undefined;
}

/**
 * Messages for one watcher until one of the signals aborts. What changes while the watcher is busy is merged, so a slow one costs
 * a bounded amount of memory and always ends up with the newest state.
 */
export async function* watchMessages<T>(
  clock: Clock,
  source: WatchSource<T>,
  { signals, from }: WatchOptions,
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
    // Always taken before the records are looked at: what they hold beyond it is told again, never left out.
    const index = source.completeIndex();
    if (from === undefined) yield { snapshot: true, changed: source.all(), gone: [], index };
    else yield { snapshot: false, ...(await source.since(from)), index };
    while (!over()) {
      if (pending.size === 0) await wait(HEARTBEAT_MS, true);
      if (over()) return;
      if (pending.size > 0) await wait(COALESCE_MS, false);
      yield { snapshot: false, ...newest(source, pending) };
    }
  } finally {
    for (const signal of signals) signal.removeEventListener('abort', onAbort);
    unsubscribe();
  }
}

function newest<T>(source: WatchSource<T>, pending: Set<string>): Missed<T> & { index: bigint } {
  const index = source.completeIndex();
  const names = [...pending];
  pending.clear();
  const changed: T[] = [];
  const gone: string[] = [];
  const get = source.look();
  for (const name of names) {
    const item = get(name);
    if (item === undefined) gone.push(name);
    else changed.push(item);
  }
  return { changed, gone, index };
}
