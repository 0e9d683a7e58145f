// SPDX-License-Identifier: Apache-2.0
import type { VirtualClock } from '@lockstep/services/platform/clock/virtual.js';
import type { Chance } from './chance.js';

/** gRPC's keepalive: a ping every 10 s and 5 s for its answer. */
const KEEPALIVE_MS = 15_000;
/** TCP sends again what was lost while a link was cut. */
const RESEND_MOST_MS = 3_000;

/** What a connection does when one of its ends cannot be heard for as long as keepalive waits. */
export interface Connection {
  readonly from: string;
  readonly to: string;
  /** Told once. */
  broken(why: string): void;
}

/** How ill the network is. Probabilities per message, unless told. */
export interface NetworkIllness {
  /** A message takes up to `slowMs` longer. */
  slow: number;
  slowMs: number;
  /** The connection breaks under a request or its answer; whether it arrived is for chance. */
  broken: number;
  /** A request of a leader to an agent arrives twice. */
  doubled: number;
}

export const HEALTHY: NetworkIllness = { slow: 0, slowMs: 0, broken: 0, doubled: 0 };

/** The links between machines. Everything that one process says to another passes here, and waits, or is lost. */
export class Network {
  illness: NetworkIllness = HEALTHY;
  readonly #cut = new Map<string, number>();
  #cuts = 0;
  #held: { from: string; to: string; deliver: () => void }[] = [];
  readonly #connections = new Set<Connection>();

  constructor(
    readonly clock: VirtualClock,
    readonly chance: Chance,
  ) {}

  /** One message. It waits while the link is cut, as TCP keeps sending; whoever gave up by then must not mind. */
  send(from: string, to: string, deliver: () => void): void {
    this.clock.after(this.#delayMs(from, to), () => {
      if (this.isCut(from, to)) this.#held.push({ from, to, deliver });
      else deliver();
    });
  }

  isCut(from: string, to: string): boolean {
    return this.#cut.has(`${from}>${to}`);
  }

  /** Cuts one direction. Connections that need it break once keepalive has waited long enough. */
  cut(from: string, to: string): void {
    const link = `${from}>${to}`;
    if (from === to || this.#cut.has(link)) return;
    const cut = ++this.#cuts;
    this.#cut.set(link, cut);
    this.clock.after(KEEPALIVE_MS * this.chance.between(0.7, 1.1), () => {
      if (this.#cut.get(link) === cut) this.breakBetween(from, to, `${from} does not reach ${to}`);
    });
  }

  heal(from: string, to: string): void {
    if (!this.#cut.delete(`${from}>${to}`)) return;
    const held = this.#held;
    this.#held = held.filter((message) => message.from !== from || message.to !== to);
    for (const { deliver } of held.filter((message) => message.from === from && message.to === to)) {
      this.clock.after(this.chance.between(1, RESEND_MOST_MS), () => {
        this.send(from, to, deliver);
      });
    }
  }

  healAll(): void {
    for (const link of [...this.#cut.keys()]) {
      const [from = '', to = ''] = link.split('>');
      this.heal(from, to);
    }
  }

  /** Follows a connection until `leave` is called. */
  follow(connection: Connection): () => void {
    this.#connections.add(connection);
    return () => this.#connections.delete(connection);
  }

  breakBetween(site: string, other: string, why: string): void {
    for (const connection of [...this.#connections]) {
      const { from, to } = connection;
      if ((from === site && to === other) || (from === other && to === site)) this.#break(connection, why);
    }
  }

  /** After keepalive's time, where `still` says that nothing has changed. */
  breakSilent(connection: Connection, why: string, still: () => boolean): void {
    this.clock.after(KEEPALIVE_MS * this.chance.between(0.7, 1.1), () => {
      if (still() && this.#connections.has(connection)) this.#break(connection, why);
    });
  }

  #break(connection: Connection, why: string): void {
    this.#connections.delete(connection);
    connection.broken(why);
  }

  #delayMs(from: string, to: string): number {
    if (from === to) return 0.02;
    const { slow, slowMs } = this.illness;
    const base = 0.1 + this.chance.random.next() * 0.4;
    return slow > 0 && this.chance.hit(slow) ? base + this.chance.longTailed(slowMs / 4, slowMs) : base;
  }
}
