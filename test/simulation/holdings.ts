// SPDX-License-Identifier: Apache-2.0
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

/** Where the services make their maps and sets: a line of their compiled code. The store and the hosts are the world's. */
const SITE = /services\/dist\/((?:core|membership|node-agent|scheduler|fencer|platform\/(?:rpc|clock))\/[\w./-]+\.js):(\d+)/;
const WORLD = 'platform/clock/virtual.js';

type Held = WeakRef<{ readonly size: number }>;

/**
 * Counts what maps and sets of the services hold, by the place that makes them. From here on, and for a process of
 * its own: it collects garbage, so that what nobody can reach any more does not count.
 */
export function countHoldings(): () => Promise<Map<string, number>> {
  const made = new Map<string, Held[]>();
  const note = (collection: { readonly size: number }): void => {
    const site = siteOf(new Error().stack ?? '');
    if (site === undefined) return;
    const known = made.get(site);
    if (known === undefined) made.set(site, [new WeakRef(collection)]);
    else known.push(new WeakRef(collection));
  };
  const [PlainMap, PlainSet] = [globalThis.Map, globalThis.Set];
  globalThis.Map = class<K, V> extends PlainMap<K, V> {
    constructor(entries?: Iterable<readonly [K, V]> | null) {
      super(entries);
      note(this);
    }
  };
  globalThis.Set = class<T> extends PlainSet<T> {
    constructor(values?: Iterable<T> | null) {
      super(values);
      note(this);
    }
  };
  return async () => {
    await collectGarbage();
    const held = new PlainMap<string, number>();
    for (const [site, collections] of made) {
      const alive = collections.filter((each) => each.deref() !== undefined);
      made.set(site, alive);
      // An empty one that somebody keeps is held, too.
      held.set(site, alive.reduce((sum, each) => sum + 1 + (each.deref()?.size ?? 0), 0));
    }
    return held;
  };
}

function siteOf(stack: string): string | undefined {
  for (const line of stack.split('\n')) {
    if (line.includes(WORLD)) return undefined;
    const [, file, place] = SITE.exec(line) ?? [];
    if (file !== undefined && place !== undefined) return `${file}:${place}`;
  }
  return undefined;
}

async function collectGarbage(): Promise<void> {
  setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  // What a WeakRef was made for, or asked for, lives on until the end of that turn.
  for (let turn = 0; turn < 3; turn += 1) {
    await new Promise((resolve) => setImmediate(resolve));
    collect();
  }
}
