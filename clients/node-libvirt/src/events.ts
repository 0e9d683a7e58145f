// SPDX-License-Identifier: Apache-2.0
// libvirt's own messages, by callback id. The connection hands each message over and reads on; a consumer takes them
// at its own pace from a bounded buffer, and is told how many it missed.
import type { CallOptions } from './calls.js';
import { LibvirtClosedError } from './errors.js';
import { type JobFigures, jobFigures } from './jobs.js';
import { eventMessages, procedures } from './procedures.js';
import { type RpcClient, decodeBody } from './rpc-client.js';
import { Subscription } from './subscription.js';
import type { DomainRef } from './wire-types.js';

export interface LifecycleEvent {
  readonly kind: 'lifecycle';
  readonly domain: DomainRef;
  /** See `Lifecycle`. */
  readonly change: number;
  /** See `StartedDetail`, `StoppedDetail`, …; which one, `change` says. */
  readonly detail: number;
}

/** QEMU begins another pass over the guest's memory. */
export interface MigrationIterationEvent {
  readonly kind: 'migration-iteration';
  readonly domain: DomainRef;
  readonly iteration: number;
}

/** A job ended; for a migration it comes at the source, at confirm. */
export interface JobCompletedEvent {
  readonly kind: 'job-completed';
  readonly domain: DomainRef;
  readonly job: JobFigures;
}

export type DomainEvent = LifecycleEvent | MigrationIterationEvent | JobCompletedEvent;
export type EventKind = DomainEvent['kind'];
export type EventOf<K extends EventKind> = Extract<DomainEvent, { readonly kind: K }>;

const EVENT_ID: Readonly<Record<EventKind, number>> = {
  'lifecycle': 0,
  'migration-iteration': 20,
  'job-completed': 21,
};

export interface SubscribeOptions extends CallOptions {
  /** Only events of this domain; by default of all. */
  readonly domain?: DomainRef;
  /** How many events wait for a slow consumer before the next ones are counted as lost; by default 1024. */
  readonly bufferSize?: number;
}

interface Received {
  readonly callbackId: number;
  readonly event: DomainEvent;
}

const DECODERS: ReadonlyMap<number, (body: Buffer) => Received> = new Map([
  [eventMessages.domainEventCallbackLifecycle.number, (body: Buffer): Received => {
    const { name, msg: codec } = eventMessages.domainEventCallbackLifecycle;
    const { callbackId, msg } = decodeBody(name, codec, body);
    return { callbackId, event: { kind: 'lifecycle', domain: msg.dom, change: msg.event, detail: msg.detail } };
  }],
  [eventMessages.domainEventCallbackMigrationIteration.number, (body: Buffer): Received => {
    const { name, msg: codec } = eventMessages.domainEventCallbackMigrationIteration;
    const { callbackId, dom, iteration } = decodeBody(name, codec, body);
    return { callbackId, event: { kind: 'migration-iteration', domain: dom, iteration } };
  }],
  [eventMessages.domainEventCallbackJobCompleted.number, (body: Buffer): Received => {
    const { name, msg: codec } = eventMessages.domainEventCallbackJobCompleted;
    const { callbackId, dom, params } = decodeBody(name, codec, body);
    return { callbackId, event: { kind: 'job-completed', domain: dom, job: jobFigures(params) } };
  }],
]);

const DEFAULT_BUFFER = 1024;
/** Events kept for a registration whose reply is not here yet. */
const MAX_EARLY = 1024;

type Feed = Subscription<DomainEvent>;

/** Subscribe first and list afterwards: then nothing falls in between. After a reconnect do both again. */
export class Events {
  readonly #rpc: RpcClient;
  readonly #feeds = new Map<number, Feed>();
  #registering = 0;
  #early: Received[] = [];

  constructor(rpc: RpcClient) {
    this.#rpc = rpc;
    rpc.setEventSink((procedure, body) => { this.#take(procedure, body); });
    rpc.closed.addEventListener('abort', () => {
      for (const feed of new Set(this.#feeds.values())) feed.end(closedError(rpc.closed));
      this.#feeds.clear();
    }, { once: true });
  }

  /**
   * One stream of the given kinds, in the order in which libvirt sent them. It ends when it is closed or the
   * connection is closed by its user, and throws a `LibvirtClosedError` when the connection ends otherwise.
   */
  async subscribe<K extends EventKind>(
    kinds: readonly K[], options: SubscribeOptions = {},
  ): Promise<Subscription<EventOf<K>>> {
    const ids: number[] = [];
    const feed = new Subscription<DomainEvent>(options.bufferSize ?? DEFAULT_BUFFER, () => this.#deregister(ids));
    try {
      for (const kind of kinds) await this.#register(kind, feed, ids, options);
    } catch (error) {
      await feed.close().catch(() => undefined);
      throw error;
    }
    // A feed only ever gets events of the kinds it registered for.
    return feed as unknown as Subscription<EventOf<K>>;
  }

  async #register(kind: EventKind, feed: Feed, ids: number[], options: SubscribeOptions): Promise<void> {
    this.#registering += 1;
    try {
      const args = { eventId: EVENT_ID[kind], dom: options.domain ?? null };
      await this.#rpc.call(procedures.connectDomainEventCallbackRegisterAny, args, options, ({ callbackId }) => {
        ids.push(callbackId);
        this.#feeds.set(callbackId, feed);
        for (const received of this.#early) if (received.callbackId === callbackId) feed.push(received.event);
      });
    } finally {
      this.#registering -= 1;
      if (this.#registering === 0) this.#early = [];
    }
  }

  async #deregister(ids: readonly number[]): Promise<void> {
    for (const callbackId of ids) this.#feeds.delete(callbackId);
    for (const callbackId of ids) {
      try {
        await this.#rpc.call(procedures.connectDomainEventCallbackDeregisterAny, { callbackId });
      } catch (error) {
        if (error instanceof LibvirtClosedError) return;
        throw error;
      }
    }
  }

  #take(procedure: number, body: Buffer): void {
    const decode = DECODERS.get(procedure);
    if (decode === undefined) return;
    let received: Received;
    try {
      received = decode(body);
    } catch {
      // Whose event it was cannot be told: everyone has to look again.
      for (const feed of new Set(this.#feeds.values())) feed.miss();
      return;
    }
    const feed = this.#feeds.get(received.callbackId);
    if (feed !== undefined) feed.push(received.event);
    else if (this.#registering > 0 && this.#early.length < MAX_EARLY) this.#early.push(received);
  }
}

function closedError(closed: AbortSignal): LibvirtClosedError | undefined {
  const reason: unknown = closed.reason;
  return reason instanceof LibvirtClosedError && reason.reason !== 'local' ? reason : undefined;
}
