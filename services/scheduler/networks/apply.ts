// SPDX-License-Identifier: Apache-2.0
import { LockstepError } from '../../core/errors/catalogue.js';
import type { Leading } from '../term.js';
import { networksOf } from './networks.js';

/** Longer than a node takes to make all its bridges. */
const APPLY_DEADLINE_MS = 30_000;
/** Nodes that are told at a time: a new leader has all of them to tell. */
const AT_ONCE = 32;
const RECHECK_EVERY_MS = 5_000;
const GATHER_MS = 250;
/** A node that could not be told is told again after this. */
const PAUSE_AFTER_FAILURE_MS = 2_000;

/** What a node took in last: which networks, in which life of its agent. */
interface Acknowledged {
  incarnation: bigint;
  version: string;
}

/**
 * Keeps every node told which networks there are, all of them at a time. Networks that are the same as a node took them
 * in are not sent again: keeping its links that way is its agent's own affair.
 */
export class NetworkAssignments {
  readonly #acknowledged = new Map<string, Acknowledged>();
  readonly #telling = new Set<string>();
  /** When a node may be told again, by the monotonic clock; of those that did not take it. */
  readonly #notBefore = new Map<string, number>();
  #pending = false;

  constructor(private readonly leading: Leading) {}

  start(): void {
    const { networks, nodes, term, env } = this.leading;
    const tellAll = (): void => {
      this.#tellAll();
    };
    networks.onChange(tellAll);
    nodes.onChange(() => {
      this.#tellSoon();
    });
    const recheck = (): void => {
      if (term.ended.aborted) return;
      this.#tellAll();
      env.clock.after(RECHECK_EVERY_MS, recheck);
    };
    recheck();
  }

  /** Figures of some node change all the time: all that came together is looked at once. */
  #tellSoon(): void {
    if (this.#pending) return;
    this.#pending = true;
    this.leading.env.clock.after(GATHER_MS, () => {
      this.#pending = false;
      this.#tellAll();
    });
  }

  #tellAll(): void {
    if (this.leading.term.ended.aborted) return;
    const version = networksOf(this.leading)
      .map(({ name, etag }) => `${name}@${etag}`)
      .join(' ');
    for (const { name, connected, record } of this.leading.nodes.nodes()) {
      if (this.#telling.size >= AT_ONCE) return;
      const known = this.#acknowledged.get(name);
      const isCurrent = known?.incarnation === record.incarnation && known.version === version;
      const isLater = (this.#notBefore.get(name) ?? 0) > this.leading.env.clock.nowMs();
      if (connected && !isCurrent && !isLater && !this.#telling.has(name)) void this.#tell(name, version);
    }
  }

  async #tell(node: string, version: string): Promise<void> {
    const { orders, env, term } = this.leading;
    this.#telling.add(node);
    try {
      const { client, header, incarnation } = orders.agent(node);
      const networks = networksOf(this.leading);
      await client.applyNetworks({ header, networks }, { deadlineMs: APPLY_DEADLINE_MS, signal: term.ended });
      this.#acknowledged.set(node, { incarnation, version });
    } catch (error) {
      this.#notBefore.set(node, env.clock.nowMs() + PAUSE_AFTER_FAILURE_MS);
      const reason = error instanceof LockstepError ? error.reason : 'INTERNAL';
      env.log.child('networks').warn(`${node} did not take the networks (${reason})`, { error });
    } finally {
      this.#telling.delete(node);
    }
    // What did not fit among those told at once.
    this.#tellSoon();
  }
}
