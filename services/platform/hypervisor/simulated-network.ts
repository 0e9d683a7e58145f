// SPDX-License-Identifier: Apache-2.0
import type { MemoryImage } from './simulated-guest.js';
import { SimulatedImages } from './simulated-images.js';
import type { IncomingStream } from './simulated-transfer.js';

/** Something that concerns who runs a VM happened; for those who check that only one does. */
export interface CopyChange {
  readonly host: string;
  readonly uuid: string;
  readonly running: boolean;
  readonly memory: MemoryImage;
  readonly what: string;
}

/** The network between simulated hosts: it carries memory from one to another. */
export interface SimulatedNetwork {
  /** Cuts the link both ways; what is on the way stands still. */
  cut(host: string, otherHost: string): void;
  heal(host: string, otherHost: string): void;
  /** Bytes per second from now on, both ways. */
  limit(host: string, otherHost: string, bytesPerSecond: number): void;
  /** Tells of every copy that begins or ends to run, at that moment. Returns how to leave. */
  observe(observer: (change: CopyChange) => void): () => void;
}

/** The network as the hosts see it. */
export class SimulatedLinks implements SimulatedNetwork {
  /** Storage is reached over it, too. */
  readonly images = new SimulatedImages();
  readonly #defaultBytesPerSecond: number;
  readonly #cut = new Set<string>();
  readonly #limits = new Map<string, number>();
  readonly #listeners = new Map<string, (port: number) => IncomingStream | undefined>();
  readonly #observers = new Set<(change: CopyChange) => void>();
  readonly #rateWatchers = new Set<() => void>();

  constructor(bytesPerSecond: number) {
    this.#defaultBytesPerSecond = bytesPerSecond;
  }

  cut(host: string, otherHost: string): void {
    this.#cut.add(linkOf(host, otherHost));
    this.#ratesChanged();
  }

  heal(host: string, otherHost: string): void {
    this.#cut.delete(linkOf(host, otherHost));
    this.#ratesChanged();
  }

  limit(host: string, otherHost: string, bytesPerSecond: number): void {
    this.#limits.set(linkOf(host, otherHost), bytesPerSecond);
    this.#ratesChanged();
  }

  observe(observer: (change: CopyChange) => void): () => void {
    this.#observers.add(observer);
    return () => {
      this.#observers.delete(observer);
    };
  }

  tell(change: CopyChange): void {
    for (const observer of this.#observers) observer(change);
  }

  /** Names a host; `accept` finds what listens at one of its ports, and nothing while its power is off. */
  attach(host: string, accept: (port: number) => IncomingStream | undefined): void {
    if (this.#listeners.has(host)) throw new Error(`the simulated network has a host ${host} already`);
    this.#listeners.set(host, accept);
  }

  /** What listens at `sim://HOST:PORT`. */
  connect(from: string, uri: string): { host: string; stream: IncomingStream } | undefined {
    const match = /^sim:\/\/([^:/]+):(\d+)$/.exec(uri);
    const [, host = '', port = ''] = match ?? [];
    if (this.rate(from, host) === 0) return undefined;
    const stream = this.#listeners.get(host)?.(Number(port));
    return stream === undefined ? undefined : { host, stream };
  }

  /** Bytes per second between two hosts; 0 while the link is cut. */
  rate(host: string, otherHost: string): number {
    const link = linkOf(host, otherHost);
    return this.#cut.has(link) ? 0 : (this.#limits.get(link) ?? this.#defaultBytesPerSecond);
  }

  /** Calls `watcher` whenever a rate has changed; returns how to leave. */
  watchRates(watcher: () => void): () => void {
    this.#rateWatchers.add(watcher);
    return () => {
      this.#rateWatchers.delete(watcher);
    };
  }

  #ratesChanged(): void {
    for (const watcher of [...this.#rateWatchers]) watcher();
  }
}

function linkOf(host: string, otherHost: string): string {
  return host < otherHost ? `${host}|${otherHost}` : `${otherHost}|${host}`;
}
