// SPDX-License-Identifier: Apache-2.0
// A libvirtd that does what a test tells it: answers, hangs, answers late, sends half frames or garbage, dies.
// It speaks through the package's own codecs, which work in both directions.
import { mkdtempSync, rmSync } from 'node:fs';
import { type Server, type Socket, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Codec } from '../codec.js';
import { type Frame, FrameSplitter, MessageType, PROGRAM, Status, encodeFrame } from '../frame.js';
import { type EventMessage, type Procedure, procedures } from '../procedures.js';
import { type WireError, errorReply } from '../wire-types.js';
import { XdrReader, XdrWriter } from '../xdr.js';

const PING = 1;
const EMPTY = new Uint8Array(0);

export function encodeBody<T>(codec: Codec<T>, value: T): Buffer {
  const writer = new XdrWriter();
  codec.encode(writer, value);
  return Buffer.from(writer.bytes());
}

/** One call that the server received; it may answer when it likes, or never. */
export class FakeCall<R> {
  constructor(
    readonly peer: FakePeer,
    readonly procedure: Pick<Procedure<unknown, R>, 'number' | 'ret'>,
    readonly serial: number,
  ) {}

  /** The frame of a good reply, for tests that cut it or change it. */
  replyFrame(value: R): Buffer {
    return this.rawFrame(Status.ok, encodeBody(this.procedure.ret, value));
  }

  rawFrame(status: number, body: Uint8Array): Buffer {
    const { procedure, serial } = this;
    return encodeFrame(
      { program: PROGRAM.remote, procedure: procedure.number, type: MessageType.reply, serial, status }, body,
    );
  }

  reply(value: R): void {
    this.peer.write(this.replyFrame(value));
  }

  fail(code: number, message: string, domain = 10): void {
    const error: WireError = {
      code, domain, message, level: 2, dom: null, str1: message, str2: null, str3: null, int1: -1, int2: -1, net: null,
    };
    this.peer.write(this.rawFrame(Status.error, encodeBody(errorReply, error)));
  }
}

/** One client's connection, from the server's side. */
export class FakePeer {
  constructor(readonly socket: Socket) {}

  write(bytes: Uint8Array): void {
    if (!this.socket.destroyed) this.socket.write(bytes);
  }

  /** Any frame of libvirt's program, by the numbers in its header. */
  frame(header: { readonly procedure?: number; readonly type: number; readonly serial?: number }): void {
    const { procedure = 0, type, serial = 0 } = header;
    this.write(encodeFrame({ program: PROGRAM.remote, procedure, type, serial, status: Status.ok }, EMPTY));
  }

  eventFrame<M>(event: EventMessage<M>, value: M): Buffer {
    return encodeFrame({
      program: PROGRAM.remote, procedure: event.number, type: MessageType.message, serial: 0, status: Status.ok,
    }, encodeBody(event.msg, value));
  }

  event<M>(event: EventMessage<M>, value: M): void {
    this.write(this.eventFrame(event, value));
  }

  pingFrame(): Buffer {
    return encodeFrame({
      program: PROGRAM.keepalive, procedure: PING, type: MessageType.message, serial: 0, status: Status.ok,
    }, EMPTY);
  }
}

type Handler = (body: Buffer, peer: FakePeer, serial: number) => void;

export class FakeServer {
  readonly #folder = mkdtempSync(join(tmpdir(), 'fake-libvirt-'));
  readonly socketPath = join(this.#folder, 'sock');
  readonly #server: Server;
  readonly #handlers = new Map<number, Handler>();
  readonly peers: FakePeer[] = [];
  /** Procedure numbers, in the order in which they came. */
  readonly received: number[] = [];
  pings = 0;
  pongs = 0;
  answerPings = true;
  #lastCallbackId = 0;

  private constructor() {
    this.#server = createServer((socket) => { this.#welcome(socket); });
    this.handle(procedures.authList, (_, call) => { call.reply({ types: [] }); });
    this.handle(procedures.connectSupportsFeature, (_, call) => { call.reply({ supported: true }); });
    this.handle(procedures.connectOpen, (_, call) => { call.reply(undefined); });
    this.handle(procedures.connectClose, (_, call) => { call.reply(undefined); });
    this.handle(procedures.connectGetHostname, (_, call) => { call.reply({ hostname: 'fake' }); });
    this.handle(procedures.connectDomainEventCallbackRegisterAny, (_, call) => {
      call.reply({ callbackId: this.#lastCallbackId += 1 });
    });
    this.handle(procedures.connectDomainEventCallbackDeregisterAny, (_, call) => { call.reply(undefined); });
  }

  static async listen(): Promise<FakeServer> {
    const server = new FakeServer();
    await new Promise<void>((resolve) => { server.#server.listen(server.socketPath, resolve); });
    return server;
  }

  /** Sets what one procedure does from now on; a handler that does not answer hangs. */
  handle<A, R>(procedure: Procedure<A, R>, handler: (args: A, call: FakeCall<R>) => void): void {
    this.#handlers.set(procedure.number, (body, peer, serial) => {
      const reader = new XdrReader(body);
      const args = procedure.args.decode(reader);
      reader.end();
      handler(args, new FakeCall(peer, procedure, serial));
    });
  }

  /** Collects calls of a procedure without answering them. */
  hang<A, R>(procedure: Procedure<A, R>): FakeCall<R>[] {
    const calls: FakeCall<R>[] = [];
    this.handle(procedure, (_, call) => { calls.push(call); });
    return calls;
  }

  get lastPeer(): FakePeer {
    const peer = this.peers.at(-1);
    if (peer === undefined) throw new Error('nobody is connected');
    return peer;
  }

  async stop(): Promise<void> {
    for (const { socket } of this.peers) socket.destroy();
    await new Promise<void>((resolve) => { this.#server.close(() => { resolve(); }); });
    rmSync(this.#folder, { recursive: true, force: true });
  }

  #welcome(socket: Socket): void {
    const peer = new FakePeer(socket);
    const splitter = new FrameSplitter();
    this.peers.push(peer);
    socket.on('error', () => undefined);
    socket.on('data', (bytes) => { splitter.push(bytes, (frame) => { this.#take(peer, frame); }); });
  }

  #take(peer: FakePeer, frame: Frame): void {
    if (frame.program === PROGRAM.keepalive) {
      if (frame.procedure !== PING) {
        this.pongs += 1;
        return;
      }
      this.pings += 1;
      if (this.answerPings) {
        peer.write(encodeFrame({
          program: PROGRAM.keepalive, procedure: PING + 1, type: MessageType.message, serial: 0, status: Status.ok,
        }, EMPTY));
      }
      return;
    }
    this.received.push(frame.procedure);
    this.#handlers.get(frame.procedure)?.(frame.body, peer, frame.serial);
  }
}
