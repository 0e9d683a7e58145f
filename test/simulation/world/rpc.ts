// SPDX-License-Identifier: Apache-2.0
import { type LimitedCallOptions, mapMethods, type ServiceInfo } from '@lockstep/sdk/transport';
import { FencerServiceDefinition, NodeAgentServiceDefinition, SchedulerServiceDefinition } from '@lockstep/sdk/v1';
import { LockstepError } from '@lockstep/services/core/errors/catalogue.js';
import { Cancelled, DeadlineExceeded } from '@lockstep/services/platform/clock/clock.js';
import type { Peers } from '@lockstep/services/platform/rpc/peers.js';
import type { CallContext } from 'nice-grpc-common';
import { contextOf } from './call-context.js';
import type { Life } from './life.js';
import type { Connection, Network } from './network.js';
import { type Codec, Wire } from './wire.js';

const UNARY_DEADLINE_MS = 10_000;
/** Messages of a stream that its reader has not taken: more are not sent, as HTTP/2's window would not let them. */
const WINDOW = 32;
/** Where every agent listens on its host. */
export const AGENT_PORT = ':7701';
/** Until a host without power is found not to answer a connection. */
const CONNECT_LIMIT_MS = 5_000;

/** Why a handler's signal aborts. One for all: a stack costs more than the call. */
const CALL_IS_OVER = new Error('the call is over');

interface Method {
  readonly name: string;
  readonly responseStream: boolean;
  readonly requestType: Codec;
  readonly responseType: Codec;
}

type Handler = (request: unknown, context: CallContext) => unknown;

/** A service at an address, in one life of a process. */
interface Served {
  life: Life;
  implementation: Readonly<Record<string, Handler>>;
}

/** What is told about calls to those who check. */
export interface RpcObserver {
  /** A handler failed with something that is no error of the API. */
  internalError(life: Life, method: string, error: unknown): void;
  /** A request arrives at its handler; what is returned is called once it is answered, and not where it is refused. */
  arrives(life: Life, method: string, request: unknown): (() => void) | undefined;
}

/** All gRPC of a simulated cluster: what goes through the network is encoded or copied, so no object is shared. */
export class Rpc {
  readonly wire = new Wire();
  readonly #served = new Map<string, Served>();
  readonly #unpowered = new Set<string>();
  readonly #peers = new WeakMap<Life, Peers>();

  constructor(
    readonly network: Network,
    private readonly observer: RpcObserver,
  ) {}

  /** Serves until the life ends. */
  serve(address: string, life: Life, implementation: object): void {
    this.#served.set(address, { life, implementation: implementation as Served['implementation'] });
  }

  setPower(site: string, powered: boolean): void {
    if (powered) this.#unpowered.delete(site);
    else this.#unpowered.add(site);
  }

  /** The peers of one life of a process. */
  peers(life: Life): Peers {
    const known = this.#peers.get(life);
    if (known !== undefined) return known;
    const clientsOf = (definition: ServiceInfo) => {
      const made = new Map<string, object>();
      return (address: string): never => {
        const client = made.get(address) ?? this.#client(life, definition, address);
        made.set(address, client);
        return client as never;
      };
    };
    const peers: Peers = {
      agent: clientsOf(NodeAgentServiceDefinition),
      scheduler: clientsOf(SchedulerServiceDefinition),
      fencer: clientsOf(FencerServiceDefinition),
    };
    this.#peers.set(life, peers);
    return peers;
  }

  #client(life: Life, definition: ServiceInfo, address: string): object {
    const methodOf = (name: string): Method => definition.methods[name] as unknown as Method;
    return mapMethods(definition, {
      unary: (name) => (request: unknown, options: LimitedCallOptions) =>
        new Call(this, life, address, name, methodOf(name), options).unary(request),
      stream: (name) => (request: unknown, options: LimitedCallOptions) =>
        new Call(this, life, address, name, methodOf(name), options).stream(request),
    });
  }

  find(address: string): Served | undefined {
    const served = this.#served.get(address);
    return served === undefined || served.life.dead ? undefined : served;
  }

  isPowered(site: string): boolean {
    return !this.#unpowered.has(site);
  }

  failureOf(life: Life, method: string, error: unknown): LockstepError {
    if (error instanceof LockstepError) return error;
    if (error instanceof DeadlineExceeded) return new LockstepError('DEADLINE', error.message);
    if (error instanceof Cancelled) return new LockstepError('CANCELLED', error.message);
    // What the dead say means nothing: the world does not answer them any more.
    if (!life.dead) this.observer.internalError(life, method, error);
    return new LockstepError('INTERNAL', `internal error in ${life.name}`);
  }

  arrives(life: Life, method: string, request: unknown): () => void {
    return this.observer.arrives(life, method, request) ?? (() => undefined);
  }
}

/** One call from one life to whoever serves the address when the request arrives. */
class Call {
  readonly #to: string;
  readonly #requestEnded = new AbortController();
  readonly #cleanUp: (() => void)[] = [];
  #over = false;
  #succeed: (value: unknown) => void = () => undefined;
  #fail: (error: Error) => void = () => undefined;
  /** Of a stream: what has arrived and was not taken yet. */
  readonly #arrived: unknown[] = [];
  #wakeReader: () => void = () => undefined;
  #wakeWriter: () => void = () => undefined;

  constructor(
    private readonly rpc: Rpc,
    private readonly life: Life,
    private readonly address: string,
    private readonly name: string,
    private readonly method: Method,
    private readonly options: LimitedCallOptions = {},
  ) {
    this.#to = address.slice(0, address.lastIndexOf(':'));
  }

  unary(request: unknown): Promise<unknown> {
    return new Promise((resolve, reject) => {
      this.#succeed = resolve;
      this.#fail = reject;
      this.#open(request, this.options.deadlineMs ?? UNARY_DEADLINE_MS);
    });
  }

  async *stream(request: unknown): AsyncGenerator<unknown, void, undefined> {
    const end: { reached: boolean; error: Error | undefined } = { reached: false, error: undefined };
    const settle = (error?: Error): void => {
      Object.assign(end, { reached: true, error });
      this.#wakeReader();
    };
    this.#succeed = () => {
      settle();
    };
    this.#fail = settle;
    this.#open(request, this.options.deadlineMs);
    try {
      for (;;) {
        if (this.#arrived.length > 0) {
          const message = this.#arrived.shift();
          this.#wakeWriter();
          yield message;
        } else if (end.error !== undefined) {
          throw end.error;
        } else if (end.reached) {
          return;
        } else {
          await new Promise<void>((resolve) => {
            this.#wakeReader = resolve;
          });
        }
      }
    } finally {
      this.#settle();
    }
  }

  #open(request: unknown, deadlineMs: number | undefined): void {
    const { signal } = this.options;
    const { network } = this.rpc;
    const what = `${this.method.name} at ${this.address}`;
    if (this.life.dead) return;
    const cancel = (): void => {
      this.#end(() => {
        this.#fail(new Cancelled(what, signal?.reason));
      });
    };
    if (signal?.aborted === true) {
      cancel();
      return;
    }
    signal?.addEventListener('abort', cancel, { once: true });
    this.#cleanUp.push(() => {
      signal?.removeEventListener('abort', cancel);
    });
    if (deadlineMs !== undefined) {
      const timer = this.life.clock.after(Math.max(deadlineMs, 1), () => {
        this.#end(() => {
          this.#fail(new LockstepError('DEADLINE', `${what}: no answer within ${String(deadlineMs)} ms`, { address: this.address }));
        });
      });
      this.#cleanUp.push(() => {
        timer.stop();
      });
    }
    const connection = {
      from: this.life.site,
      to: this.#to,
      broken: (why: string) => {
        this.#lose(why);
        this.#abandon();
      },
    };
    this.#cleanUp.push(network.follow(connection));
    this.#cleanUp.push(
      this.life.onDeath((death) => {
        if (death === 'killed') this.#tellOfEnd();
        else network.breakSilent(connection, 'keepalive: no answer', () => true);
      }),
    );

    const untilMs = deadlineMs === undefined ? undefined : network.clock.nowMs() + deadlineMs;
    const { illness, chance } = network;
    const breaks = chance.hit(illness.broken);
    const deliver = (first: boolean, sent = this.rpc.wire.carried(this.method.requestType, request)) => (): void => {
      this.#arrive(sent, untilMs, connection, first);
    };
    if (breaks) this.#loseAfterAWhile();
    if (!breaks || chance.hit(0.5)) network.send(this.life.site, this.#to, deliver(true));
    if (this.#isOrder() && chance.hit(illness.doubled)) network.send(this.life.site, this.#to, deliver(false));
  }

  #isOrder(): boolean {
    return this.address.endsWith(AGENT_PORT) && !this.method.responseStream;
  }

  #arrive(request: unknown, untilMs: number | undefined, connection: Connection, first: boolean): void {
    const { network } = this.rpc;
    const served = this.rpc.find(this.address);
    if (served === undefined) {
      if (this.rpc.isPowered(this.#to)) this.#answer(() => { this.#lose('connection refused'); });
      else network.clock.after(network.chance.between(1_000, CONNECT_LIMIT_MS), () => { this.#lose('no route to host'); });
      return;
    }
    const leave = served.life.onDeath((death) => {
      if (death === 'killed') this.#answer(() => { this.#lose('connection reset by peer'); });
      else network.breakSilent(connection, 'keepalive: no answer', () => !this.#over);
    });
    if (served.life.paused) network.breakSilent(connection, 'keepalive: no answer', () => served.life.paused);
    served.life.turn(() => {
      void this.#handle(served, request, untilMs, first).finally(leave);
    });
  }

  async #handle({ life, implementation }: Served, request: unknown, untilMs: number | undefined, first: boolean): Promise<void> {
    const handler = implementation[this.name];
    const untilHereMs = untilMs === undefined ? undefined : life.clock.nowMs() + (untilMs - this.rpc.network.clock.nowMs());
    const asked = { peer: `${this.life.site}:0`, signal: this.#requestEnded.signal, untilMs: untilHereMs };
    const context = contextOf(asked, this.options.metadata);
    try {
      if (handler === undefined) throw new LockstepError('NOT_IMPLEMENTED', `${this.name} is not known there`);
      const answered = this.rpc.arrives(life, this.name, request);
      if (this.method.responseStream) {
        await this.#pump(life, handler(request, context) as AsyncIterable<unknown>, answered);
        this.#reply(life, first, () => { this.#succeed(undefined); });
      } else {
        const answer = this.rpc.wire.carried(this.method.responseType, await (handler(request, context)));
        answered();
        this.#reply(life, first, () => { this.#succeed(answer); });
      }
    } catch (error) {
      if (this.#requestEnded.signal.aborted) return;
      const { reason, message, metadata } = this.rpc.failureOf(life, this.name, error);
      this.#reply(life, first, () => { this.#fail(new LockstepError(reason, message, { ...metadata })); });
    }
  }

  /** Sends what the handler yields, in order, no faster than it is taken. */
  async #pump(life: Life, messages: AsyncIterable<unknown>, answered: () => void): Promise<void> {
    const isOver = (): boolean => this.#requestEnded.signal.aborted;
    let isFirst = true;
    for await (const message of messages) {
      if (isOver()) return;
      if (isFirst) answered();
      isFirst = false;
      const copy = this.rpc.wire.carried(this.method.responseType, message);
      const way = { over: false };
      this.#answer(() => {
        way.over = true;
        this.life.turn(() => {
          if (!this.#over) this.#arrived.push(copy);
          this.#wakeReader();
        });
        this.#wakeWriter();
      });
      const mustWait = (): boolean => !way.over || this.#arrived.length >= WINDOW;
      while (mustWait() && !isOver()) {
        await new Promise<void>((resolve) => {
          this.#wakeWriter = () => {
            life.turn(resolve);
          };
        });
      }
    }
  }

  /** The first delivery's end is the call's. */
  #reply(life: Life, first: boolean, settle: () => void): void {
    if (!first || life.dead) return;
    const { illness, chance } = this.rpc.network;
    if (chance.hit(illness.broken)) this.#loseAfterAWhile();
    else this.#answer(() => { this.#end(settle, 'server'); });
  }

  #answer(deliver: () => void): void {
    this.rpc.network.send(this.#to, this.life.site, deliver);
  }

  #loseAfterAWhile(): void {
    const { network } = this.rpc;
    network.clock.after(network.chance.between(0.5, 2_000), () => { this.#lose('connection reset by peer'); });
  }

  #lose(why: string): void {
    this.#end(() => {
      const { address } = this;
      this.#fail(new LockstepError('NODE_UNREACHABLE', `${this.method.name} at ${address}: no answer: ${why}`, { address }));
    });
  }

  /** Ends the call in the caller's own turn. */
  #end(settle: () => void, by: 'server' | 'client' = 'client'): void {
    this.life.turn(() => {
      if (this.#over) return;
      this.#settle(by);
      settle();
    });
  }

  /** A server that has answered need not be told that nobody waits for it any more. */
  #settle(by: 'server' | 'client' = 'client'): void {
    if (this.#over) return;
    this.#over = true;
    for (const clean of this.#cleanUp) clean();
    if (by === 'client') this.#tellOfEnd();
  }

  /** The server learns of it when its network does. */
  #tellOfEnd(): void {
    this.rpc.network.send(this.life.site, this.#to, () => {
      this.#abandon();
    });
  }

  /** The server's handler works for nobody any more. */
  #abandon(): void {
    this.rpc.find(this.address)?.life.turn(() => {
      this.#requestEnded.abort(CALL_IS_OVER);
      this.#wakeWriter();
    });
  }
}
