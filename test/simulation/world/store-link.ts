// SPDX-License-Identifier: Apache-2.0
import type { DriverOp, StoreDriver } from '@lockstep/services/platform/store/driver.js';
import type { EmbeddedStore } from '@lockstep/services/platform/store/embedded.js';
import { StoreError, type Consistency, type Entry, type Listing, type TxnResult } from '@lockstep/services/platform/store/store.js';
import type { Chance } from './chance.js';
import type { Life } from './life.js';
import type { Network } from './network.js';

/** Where the store is, on the network. */
export const STORE = 'store';

/** How ill the store is. Probabilities per call. */
export interface StoreIllness {
  /** It has no leader: nothing is taken. */
  down: boolean;
  /** A write's outcome is not told, whether it happened or not; some happen late. */
  unknown: number;
  /** Reads that may be stale repeat an earlier answer; above zero, those that any server may answer are of minutes ago. */
  stale: number;
  /** Blocking queries answer although nothing changed. */
  early: number;
}

export const SOUND: StoreIllness = { down: false, unknown: 0, stale: 0, early: 0 };

const LATE_MOST_MS = 8_000;
/** How far a server falls behind that lost its leader and still answers. */
const LAG_MOST_MS = 180_000;
const NO_SIGNAL = new AbortController().signal;

/** The store's server, its illness, and what those who check see of it. */
export class StoreSite {
  illness: StoreIllness = SOUND;
  /** Sites whose every call fails, or only what writes. */
  readonly failing = new Map<string, 'all' | 'writes'>();
  /** Sessions by the site that made them, as far as they have not ended by themselves. */
  readonly sessions = new Map<string, string[]>();
  /** Earlier answers, by what was asked for. */
  readonly #stale = new Map<string, Listing>();
  /** What a server has that hears of nothing until `untilMs`. */
  #behind: { state: Listing; untilMs: number } | undefined;
  /** Whether a machine has power; told by the cluster. */
  isPowered: (site: string) => boolean = () => true;

  constructor(
    private readonly embedded: EmbeddedStore,
    private readonly network: Network,
    private readonly chance: Chance,
    private readonly onCommit: (life: Life, ops: readonly DriverOp[]) => void,
  ) {}

  /** The store as one life reaches it: over the network, with its faults. */
  driver(life: Life): StoreDriver {
    const base = this.embedded.driver(life.site);
    return {
      get: (key, options) =>
        this.#read(life, async () => {
          const entry = await base.get(key, options);
          const seen = this.#asSeen(options.consistency, key, { entries: entry === undefined ? [] : [entry], index: 0n });
          return seen.entries.find((each) => each.key === key);
        }),
      list: (prefix, { wait, ...options }) =>
        this.#read(life, async () => {
          const early = wait === undefined || this.chance.hit(this.illness.early);
          const listing = await base.list(prefix, early ? options : { ...options, wait });
          return this.#asSeen(options.consistency, prefix, listing);
        }),
      txn: (ops) => this.#write(life, () => this.#txn(base, life, ops)),
      createSession: (spec) =>
        this.#write(life, async () => {
          const id = await base.createSession(spec, NO_SIGNAL);
          this.sessions.set(life.site, [...(this.sessions.get(life.site) ?? []).slice(-4), id]);
          return id;
        }),
      renewSession: (session) => this.#write(life, () => base.renewSession(session, NO_SIGNAL)),
      members: () =>
        this.#read(life, async () => (await base.members(NO_SIGNAL)).map(({ name }) => ({ name, alive: this.#isMember(name) }))),
      destroySession: (session) => this.#write(life, () => base.destroySession(session, NO_SIGNAL)),
    };
  }

  /** Somebody ends the last session of a site: an operator, or the health check of its node. */
  async endSession(site: string): Promise<boolean> {
    const session = this.sessions.get(site)?.pop();
    if (session === undefined) return false;
    await this.embedded.driver('operator').destroySession(session, NO_SIGNAL);
    return true;
  }

  /** Membership is of machines, whatever their processes do: one counts as gone that has no power or cannot be heard. */
  #isMember(site: string): boolean {
    return this.isPowered(site) && !this.network.isCut(site, STORE) && !this.network.isCut(STORE, site);
  }

  async #txn(base: StoreDriver, life: Life, ops: readonly DriverOp[]): Promise<TxnResult> {
    if (this.illness.stale > 0 && this.network.clock.nowMs() >= (this.#behind?.untilMs ?? 0)) await this.#fallBehind(base);
    const result = await base.txn(ops, NO_SIGNAL);
    if (result.outcome === 'committed') this.onCommit(life, ops);
    return result;
  }

  #read<T>(life: Life, work: () => Promise<T>): Promise<T> {
    return this.#request(life, () => {
      if (this.illness.down || this.failing.get(life.site) === 'all') return Promise.reject(new StoreError('unavailable', 'no cluster leader'));
      return work();
    });
  }

  #write<T>(life: Life, work: () => Promise<T>): Promise<T> {
    return this.#request(life, async () => {
      if (this.illness.down || this.failing.has(life.site)) throw new StoreError('unavailable', 'no cluster leader');
      if (!this.chance.hit(this.illness.unknown)) return work();
      const what = this.chance.whole(0, 3);
      if (what === 0) throw new StoreError('unknown-outcome', 'leadership lost while committing log');
      if (what === 1) {
        await work();
        throw new StoreError('unknown-outcome', 'leadership lost while committing log');
      }
      await new Promise<void>((resolve) => {
        this.network.clock.after(this.chance.between(1, LATE_MOST_MS), resolve);
      });
      return work();
    });
  }

  /** There and back. What was sent happens, even if nobody waits for the answer any more. */
  #request<T>(life: Life, work: () => Promise<T>): Promise<T> {
    return life.call(
      () =>
        new Promise<T>((resolve, reject) => {
          this.network.send(life.site, STORE, () => {
            work().then(
              (value) => {
                this.network.send(STORE, life.site, () => {
                  resolve(value);
                });
              },
              (error: unknown) => {
                this.network.send(STORE, life.site, () => {
                  reject(error instanceof Error ? error : new Error(String(error)));
                });
              },
            );
          });
        }),
    );
  }

  async #fallBehind(base: StoreDriver): Promise<void> {
    const untilMs = this.network.clock.nowMs() + this.chance.between(1, LAG_MOST_MS);
    this.#behind = { state: await base.list('', { consistency: 'consistent', signal: NO_SIGNAL }), untilMs };
  }

  /** What is answered to one who asked this way, `now` being the truth. */
  #asSeen(consistency: Consistency, asked: string, now: Listing): Listing {
    if (consistency === 'consistent') return now;
    if (consistency === 'stale' && this.illness.stale > 0 && this.#behind !== undefined) {
      const { entries, index } = this.#behind.state;
      return copyOf({ entries: entries.filter(({ key }) => key.startsWith(asked)), index });
    }
    const before = this.#stale.get(asked);
    if (before !== undefined && this.chance.hit(this.illness.stale)) return copyOf(before);
    if (before === undefined || this.chance.hit(0.3)) this.#stale.set(asked, copyOf(now));
    return now;
  }
}

function copyOf({ entries, index }: Listing): Listing {
  return { entries: entries.map((entry): Entry => ({ ...entry })), index };
}
