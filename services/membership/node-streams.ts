// SPDX-License-Identifier: Apache-2.0
import { LeaderRole, type Node } from '@lockstep/sdk/v1';
import { nodeCodec } from '../core/records/codec.js';
import { keys, nameOf } from '../core/records/keys.js';
import type { Env } from '../platform/env.js';
import type { Logger } from '../platform/log/log.js';
import type { Entry } from '../platform/store/store.js';
import { follow } from './follow.js';
import type { LeaderRoleName } from './leadership.js';
import { Openings } from './openings.js';
import { NodeStream, type NodeReport, type NodeStreamTimings } from './node-stream.js';

export const NODE_STREAM_TIMINGS: NodeStreamTimings = {
  openLimitMs: 10_000,
  idleLimitMs: 20_000,
  retryFirstMs: 500,
  retryMostMs: 5_000,
};
/** A thousand hosts that are all gone hold up one that is there for no longer than its own turn. */
const OPENINGS = { atOnce: 64, holdsForMs: 500 };
/**
 * Every listener looks at all nodes, so the more there are, the longer changes are gathered: what the looks cost stays the
 * same share of the time. Where it is less than `FROM`, as with few nodes, nothing is gathered beyond the turn.
 */
const GATHER_MS_PER_NODE = 0.25;
const GATHER_FROM_MS = 10;

/** All a leader knows of one node at this moment. Ages are by this process's monotonic clock alone. */
export interface NodeView {
  name: string;
  /** The durable record, and the index it was read at. */
  record: Node;
  recordIndex: bigint;
  /** The session that holds `alive/NODE`; undefined: none does, as the store was last heard. */
  session: string | undefined;
  /** What its agent last said; undefined: nothing yet. */
  report: NodeReport | undefined;
  /** When its agent last said anything, heartbeats included. */
  lastMessageAtMs: number | undefined;
  /** Whether its stream is open and has spoken. */
  connected: boolean;
  /** Why it is not connected. */
  trouble: string;
}

export interface NodeStreamsOptions {
  env: Pick<Env, 'clock' | 'random' | 'store' | 'log' | 'peers'>;
  role: LeaderRoleName;
  leaderEpoch: bigint;
  /** The term's end: everything stops. */
  signal: AbortSignal;
  timings?: Partial<NodeStreamTimings>;
  /** Every failure of a stream, after it was logged: a leader looks there for STALE_EPOCH. */
  onTrouble?: (node: string, error: unknown) => void;
}

/** What a leader sees of all nodes: their records and sessions from the store, all else from their agents. */
export interface NodeStreams {
  /** Whether records and sessions have both been read; before that, a node that is missing means nothing. */
  loaded(): boolean;
  /** When following the store last failed; undefined: never. */
  storeTroubleAtMs(): number | undefined;
  /** Ordered by name. */
  nodes(): NodeView[];
  node(name: string): NodeView | undefined;
  /** Calls the listener after changes, once for all that came together; heartbeats are none. Call the answer to end. */
  onChange(listener: () => void): () => void;
  /** Settles when the signal aborted and every stream has ended. */
  readonly done: Promise<void>;
}

const ROLES = { scheduler: LeaderRole.SCHEDULER, fencer: LeaderRole.FENCER } as const;

export function createNodeStreams(options: NodeStreamsOptions): NodeStreams {
  return new LeaderNodeStreams(options);
}

interface KnownNode {
  record: Node;
  index: bigint;
  stream: NodeStream;
}

class LeaderNodeStreams implements NodeStreams {
  readonly done: Promise<void>;
  readonly #options: NodeStreamsOptions;
  readonly #log: Logger;
  readonly #known = new Map<string, KnownNode>();
  readonly #leaving = new Set<Promise<void>>();
  readonly #listeners = new Set<() => void>();
  readonly #openings: Openings;
  /** Names of `#known`, in order; undefined: to be sorted again. */
  #names: string[] | undefined;
  #toldAtMs = Number.NEGATIVE_INFINITY;
  #sessions: ReadonlyMap<string, string | undefined> | undefined;
  #recordsRead = false;
  #storeTroubleAtMs: number | undefined;
  #announcing = false;

  constructor(options: NodeStreamsOptions) {
    this.#options = options;
    this.#log = options.env.log.child('nodes');
    this.#openings = new Openings(options.env.clock, OPENINGS);
    this.done = this.#run();
  }

  loaded(): boolean {
    return this.#recordsRead && this.#sessions !== undefined;
  }

  storeTroubleAtMs(): number | undefined {
    return this.#storeTroubleAtMs;
  }

  nodes(): NodeView[] {
    this.#names ??= [...this.#known.keys()].sort();
    return this.#names.flatMap((name) => this.node(name) ?? []);
  }

  node(name: string): NodeView | undefined {
    const known = this.#known.get(name);
    return known === undefined ? undefined : this.#view(name, known);
  }

  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => {
      this.#listeners.delete(listener);
    };
  }

  #view(name: string, { record, index, stream }: KnownNode): NodeView {
    return {
      name,
      record,
      recordIndex: index,
      session: this.#sessions?.get(name),
      report: stream.report,
      lastMessageAtMs: stream.lastMessageAtMs,
      connected: stream.connected,
      trouble: stream.trouble,
    };
  }

  async #run(): Promise<void> {
    const { env, signal } = this.#options;
    const onTrouble = (): void => {
      this.#storeTroubleAtMs = env.clock.nowMs();
    };
    const log = this.#log;
    await Promise.all([
      follow(env, { prefix: keys.nodes, what: 'the nodes', signal, log, onTrouble }, ({ entries }) => {
        this.#takeRecords(entries);
      }),
      follow(env, { prefix: keys.aliveNodes, what: 'the sessions of nodes', signal, log, onTrouble }, ({ entries }) => {
        this.#sessions = new Map(entries.map(({ key, session }) => [nameOf(key), session]));
        this.#announce();
      }),
    ]);
    for (const name of [...this.#known.keys()]) this.#forget(name);
    await Promise.all(this.#leaving);
    this.#listeners.clear();
  }

  #takeRecords(entries: readonly Entry[]): void {
    const present = new Set(entries.map(({ key }) => nameOf(key)));
    for (const name of [...this.#known.keys()]) {
      if (!present.has(name)) this.#forget(name);
    }
    for (const entry of entries) this.#takeRecord(entry);
    this.#recordsRead = true;
    this.#announce();
  }

  #takeRecord({ key, value, index }: Entry): void {
    const name = nameOf(key);
    const known = this.#known.get(name);
    if (known?.index === index) return;
    let record: Node;
    try {
      record = nodeCodec.decode(value, index);
    } catch (error) {
      // What was known of it stays: a record that was damaged is no reason to forget a node.
      this.#log.error('cannot read its record', { node: name, error });
      return;
    }
    const { address, incarnation } = record;
    if (known === undefined) {
      this.#known.set(name, { record, index, stream: this.#open(name, { address, incarnation }) });
      this.#names = undefined;
    } else {
      this.#known.set(name, { ...known, record, index });
      known.stream.update({ address, incarnation });
    }
  }

  #open(name: string, contact: { address: string; incarnation: bigint }): NodeStream {
    const { env, role, leaderEpoch, timings, onTrouble } = this.#options;
    return new NodeStream({
      env,
      log: this.#log,
      name,
      contact,
      role: ROLES[role],
      leaderEpoch,
      timings: { ...NODE_STREAM_TIMINGS, ...timings },
      openings: this.#openings,
      onChange: () => {
        this.#announce();
      },
      onTrouble: (error) => {
        onTrouble?.(name, error);
      },
    });
  }

  #forget(name: string): void {
    const known = this.#known.get(name);
    if (known === undefined) return;
    this.#known.delete(name);
    this.#names = undefined;
    const leaving = known.stream.close().finally(() => {
      this.#leaving.delete(leaving);
    });
    this.#leaving.add(leaving);
  }

  /** Tells the listeners once this turn is over, or later where they were told a moment ago and there are many nodes. */
  #announce(): void {
    if (this.#announcing) return;
    this.#announcing = true;
    const { clock } = this.#options.env;
    const gatherMs = this.#known.size * GATHER_MS_PER_NODE;
    const waitMs = gatherMs < GATHER_FROM_MS ? 0 : this.#toldAtMs + gatherMs - clock.nowMs();
    const tell = (): void => {
      this.#tell();
    };
    if (waitMs > 0) clock.after(waitMs, tell);
    else void Promise.resolve().then(tell);
  }

  #tell(): void {
    this.#announcing = false;
    if (this.#options.signal.aborted) return;
    this.#toldAtMs = this.#options.env.clock.nowMs();
    for (const listener of [...this.#listeners]) {
      try {
        listener();
      } catch (error) {
        this.#log.error('a listener to changes of nodes failed', { error });
      }
    }
  }
}
