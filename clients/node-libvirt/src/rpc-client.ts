// SPDX-License-Identifier: Apache-2.0
// One socket to libvirtd: frames out, replies, events and pings in, and one end for all of it.
import { setMaxListeners } from 'node:events';
import type { Socket } from 'node:net';
import { asError } from './as-error.js';
import { CallTable, type CallLoad, type CallOptions } from './calls.js';
import type { Codec } from './codec.js';
import { type CloseReason, LibvirtClosedError, LibvirtError, LibvirtProtocolError } from './errors.js';
import {
  type Frame, type FrameHeader, FrameSplitter, MAX_BODY_BYTES, MessageType, PROGRAM, PROGRAM_VERSION, Status,
  encodeFrame,
} from './frame.js';
import { Keepalive } from './keepalive.js';
import type { Procedure } from './procedures.js';
import { errorReply } from './wire-types.js';
import { XdrError, XdrReader, XdrWriter } from './xdr.js';

/** What the typed wrappers need of a connection. */
export interface Caller {
  call<A, R>(procedure: Procedure<A, R>, args: A, options?: CallOptions, onReply?: (value: R) => void): Promise<R>;
}

const KEEPALIVE_PROC = { ping: 1, pong: 2 } as const;
const EMPTY = new Uint8Array(0);

export function decodeBody<T>(what: string, codec: Codec<T>, body: Buffer): T {
  try {
    const reader = new XdrReader(body);
    const value = codec.decode(reader);
    reader.end();
    return value;
  } catch (error) {
    throw new LibvirtProtocolError(`${what}: ${asError(error).message}`, { cause: error });
  }
}

export class RpcClient implements Caller {
  readonly #socket: Socket;
  readonly #defaultDeadlineMs: number;
  readonly #calls = new CallTable();
  readonly #splitter = new FrameSplitter();
  readonly #closing = new AbortController();
  #keepalive: Keepalive | undefined;
  #onEvent: (procedure: number, body: Buffer) => void = () => undefined;

  constructor(socket: Socket, defaultDeadlineMs: number) {
    this.#socket = socket;
    this.#defaultDeadlineMs = defaultDeadlineMs;
    setMaxListeners(0, this.#closing.signal);
    socket.on('data', (bytes) => { this.#receive(bytes); });
    socket.on('error', (error) => { this.end('socket', `the socket failed: ${error.message}`, error); });
    // 'close' alone would not come while a server that has hung up leaves our last bytes unread.
    for (const event of ['end', 'close']) {
      socket.on(event, () => { this.end('remote', 'libvirt closed the connection'); });
    }
  }

  /** Fires once, at the end of the connection; its reason is a `LibvirtClosedError`. */
  get closed(): AbortSignal {
    return this.#closing.signal;
  }

  get load(): CallLoad {
    return this.#calls.load;
  }

  /** Who gets the server's own messages. Called between two reads: it must only take them, and not throw. */
  setEventSink(sink: (procedure: number, body: Buffer) => void): void {
    this.#onEvent = sink;
  }

  startKeepalive(intervalMs: number, count: number): void {
    this.#keepalive = new Keepalive(intervalMs, count,
      () => { this.#sendKeepalive(KEEPALIVE_PROC.ping); },
      () => { this.end('keepalive', `no sign of life after ${String(count)} pings, ${String(intervalMs)} ms apart`); });
  }

  /**
   * `onReply` runs before anything that arrived after the reply is looked at, which a promise cannot promise.
   * @throws LibvirtProtocolError for arguments the protocol cannot carry, before anything is sent.
   */
  async call<A, R>(
    procedure: Procedure<A, R>, args: A, options: CallOptions = {}, onReply?: (value: R) => void,
  ): Promise<R> {
    const body = encodeArgs(procedure, args);
    const frame = await new Promise<Frame>((resolve, reject) => {
      this.#calls.submit({
        procedure: procedure.name,
        deadlineMs: options.deadlineMs ?? this.#defaultDeadlineMs,
        signal: options.signal,
        send: (serial) => {
          const type = MessageType.call;
          this.#send({ program: PROGRAM.remote, procedure: procedure.number, type, serial, status: Status.ok }, body);
        },
        onReply: (reply) => {
          try {
            onReply?.(decodeReply(procedure, reply));
            resolve(reply);
          } catch (error) {
            reject(asError(error));
          }
        },
        onFailure: reject,
      });
    });
    // Decoded here and not where the socket is read, so that an error's stack shows who called.
    return decodeReply(procedure, frame);
  }

  /** Ends the connection; the first reason stays. Everything that still waits is told. */
  end(reason: CloseReason, text: string, cause?: unknown): void {
    if (this.#closing.signal.aborted) return;
    const error = new LibvirtClosedError(reason, text, cause === undefined ? {} : { cause });
    this.#keepalive?.stop();
    this.#socket.destroy();
    this.#calls.closeAll(error);
    this.#closing.abort(error);
  }

  #send(header: FrameHeader, body: Uint8Array): void {
    if (!this.#socket.destroyed) this.#socket.write(encodeFrame(header, body));
  }

  #sendKeepalive(procedure: number): void {
    // A server that asks and does not read must not fill our memory with answers.
    if (this.#socket.writableNeedDrain) return;
    const type = MessageType.message;
    this.#send({ program: PROGRAM.keepalive, procedure, type, serial: 0, status: Status.ok }, EMPTY);
  }

  #receive(bytes: Buffer): void {
    this.#keepalive?.heard();
    try {
      this.#splitter.push(bytes, (frame) => { this.#dispatch(frame); });
    } catch (error) {
      this.end('protocol', asError(error).message, error);
    }
  }

  #dispatch(frame: Frame): void {
    if (this.#closing.signal.aborted) return;
    if (frame.program === PROGRAM.keepalive) {
      if (frame.procedure === KEEPALIVE_PROC.ping) this.#sendKeepalive(KEEPALIVE_PROC.pong);
      return;
    }
    if (frame.type === MessageType.callWithFds || frame.type === MessageType.replyWithFds) {
      throw new LibvirtProtocolError('the server passes file descriptors, which nobody asked for');
    }
    if (frame.program !== PROGRAM.remote) return;
    if (frame.version !== PROGRAM_VERSION) {
      throw new LibvirtProtocolError(`program version ${String(frame.version)} is not known`);
    }
    if (frame.type === MessageType.reply) this.#calls.settle(frame);
    else if (frame.type === MessageType.message) this.#onEvent(frame.procedure, frame.body);
    // Streams belong to calls that this package does not make: their frames are passed over.
  }
}

function encodeArgs<A, R>(procedure: Procedure<A, R>, args: A): Uint8Array {
  try {
    const writer = new XdrWriter();
    procedure.args.encode(writer, args);
    if (writer.length > MAX_BODY_BYTES) {
      throw new XdrError(`${String(writer.length)} bytes; at most ${String(MAX_BODY_BYTES)} fit`);
    }
    return writer.bytes();
  } catch (error) {
    throw new LibvirtProtocolError(`${procedure.name}: ${asError(error).message}`, { cause: error });
  }
}

function decodeReply<A, R>(procedure: Procedure<A, R>, frame: Frame): R {
  if (frame.procedure !== procedure.number) {
    throw new LibvirtProtocolError(`${procedure.name}: the reply is for procedure ${String(frame.procedure)}`);
  }
  if (frame.status === Status.ok) return decodeBody(procedure.name, procedure.ret, frame.body);
  if (frame.status === Status.error) {
    throw new LibvirtError(procedure.name, decodeBody(`${procedure.name}: error reply`, errorReply, frame.body));
  }
  throw new LibvirtProtocolError(`${procedure.name}: a reply cannot have the status ${String(frame.status)}`);
}
