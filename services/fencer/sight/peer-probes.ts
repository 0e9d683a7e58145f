// SPDX-License-Identifier: Apache-2.0
import { durationOf } from '../../core/duration.js';
import type { ProbeTally } from '../../core/judgement/agreement.js';
import { MAIN_NETWORK } from '../../core/records/keys.js';
import type { Term } from '../../membership/leadership.js';
import type { NodeStreams, NodeView } from '../../membership/node-streams.js';
import type { Env } from '../../platform/env.js';
import { lookEverySecond, missedSign, peersOf, wordsOf } from './looks.js';

/** Peers that look for one node's signs of life. */
const PEERS_ASKED = 3;
const CALM_EVERY_MS = 5_000;
const PROBE_LIMIT_MS = 1_000;
/** The peer's own answer takes a little longer than its probe. */
const ANSWER_LIMIT_MS = 2_500;
/** A peer that reached another node over a network within this time is on that network. */
const NETWORK_FRESH_MS = 15_000;

/** What one peer saw of one node over one network. */
export interface ProbeSeen {
  observer: string;
  network: string;
  /** Probes in a row without an answer, each answered for by the peer. */
  misses: number;
  lastAnswerAtMs: number | undefined;
  /** When the peer last told what came of one. */
  toldAtMs: number | undefined;
  detail: string;
}

interface Path extends ProbeSeen {
  node: string;
  incarnation: bigint;
  startedAtMs: number | undefined;
  isBusy: boolean;
}

/**
 * Has peers look for every node's agent over every network it can be reached on: now and then where all is well, once a
 * second where a sign of life was missed. A peer that does not answer has seen nothing: neither life nor death.
 */
export class PeerProbes {
  readonly #paths = new Map<string, Path>();

  constructor(
    private readonly options: { env: Pick<Env, 'clock' | 'peers'>; term: Term; streams: NodeStreams },
  ) {}

  /** Settles when the term ended. */
  run(): Promise<void> {
    const { env, term, streams } = this.options;
    return lookEverySecond({ clock: env.clock, term, streams }, (views, nowMs) => {
      const names = new Set(views.map(({ name }) => name));
      for (const [key, { node, observer }] of this.#paths) {
        if (!names.has(node) || !names.has(observer)) this.#paths.delete(key);
      }
      for (const view of views) this.#lookAt(view, views, nowMs);
    });
  }

  seen(node: string): readonly ProbeSeen[] {
    const seen: ProbeSeen[] = [];
    for (const path of this.#paths.values()) {
      if (path.node === node && path.startedAtMs !== undefined) seen.push(path);
    }
    return seen;
  }

  tallies(node: string, nowMs: number): ProbeTally[] {
    return this.seen(node).map(({ observer, network, misses }) => ({
      observer,
      network,
      misses,
      networkWorks: this.#isOnNetwork(observer, network, node, nowMs),
    }));
  }

  #isOnNetwork(observer: string, network: string, node: string, nowMs: number): boolean {
    for (const path of this.#paths.values()) {
      if (path.observer !== observer || path.network !== network || path.node === node) continue;
      if (path.lastAnswerAtMs !== undefined && nowMs - path.lastAnswerAtMs <= NETWORK_FRESH_MS) return true;
    }
    return false;
  }

  #lookAt(view: NodeView, views: readonly NodeView[], nowMs: number): void {
    const isUrgent = missedSign(view, nowMs);
    for (const peer of peersOf(view.name, views, PEERS_ASKED, nowMs)) {
      for (const { network, address } of addressesOf(view)) {
        const path = this.#path(view, peer.name, network);
        if (path.isBusy) continue;
        if (!isUrgent && path.startedAtMs !== undefined && nowMs - path.startedAtMs < CALM_EVERY_MS) continue;
        void this.#probe(path, peer, address);
      }
    }
  }

  /** What was counted of an earlier life says nothing about this one. */
  #path({ name: node, record: { incarnation } }: NodeView, observer: string, network: string): Path {
    const key = `${node} ${observer} ${network}`;
    const known = this.#paths.get(key);
    if (known?.incarnation === incarnation) return known;
    const path: Path = {
      ...{ node, incarnation, observer, network, misses: 0, detail: 'not probed yet', isBusy: false },
      ...{ lastAnswerAtMs: undefined, toldAtMs: undefined, startedAtMs: undefined },
    };
    this.#paths.set(key, path);
    return path;
  }

  async #probe(path: Path, peer: NodeView, address: string): Promise<void> {
    const { env, term } = this.options;
    path.isBusy = true;
    path.startedAtMs = env.clock.nowMs();
    try {
      const { alive, detail } = await env.peers
        .agent(peer.record.address)
        .probe({ address, limit: durationOf(PROBE_LIMIT_MS) }, { deadlineMs: ANSWER_LIMIT_MS, signal: term.ended });
      path.toldAtMs = env.clock.nowMs();
      path.detail = detail;
      path.misses = alive ? 0 : path.misses + 1;
      if (alive) path.lastAnswerAtMs = path.toldAtMs;
    } catch (error) {
      path.misses = 0;
      path.detail = `${path.observer} could not be asked: ${wordsOf(error)}`;
    } finally {
      path.isBusy = false;
    }
  }
}

/** All networks over which a node says it can be reached. */
function addressesOf({ record }: NodeView): { network: string; address: string }[] {
  const main = { network: record.addressNetwork === '' ? MAIN_NETWORK : record.addressNetwork, address: record.address };
  return [main, ...record.furtherAddresses].filter(({ address }) => address !== '');
}
