// SPDX-License-Identifier: Apache-2.0
// Frames of libvirt's RPC: a length word that counts itself, six header words, a body.
import { LibvirtProtocolError } from './errors.js';

export const PROGRAM = { remote: 0x20008086, keepalive: 0x6b656570 } as const;
export const PROGRAM_VERSION = 1;

export const MessageType = {
  call: 0,
  reply: 1,
  message: 2,
  stream: 3,
  callWithFds: 4,
  replyWithFds: 5,
  streamHole: 6,
} as const;

export const Status = { ok: 0, error: 1 } as const;

export const HEADER_BYTES = 28;
/** 32 MiB and the length word itself. */
export const MAX_FRAME_BYTES = 32 * 1024 * 1024 + 4;
export const MAX_BODY_BYTES = MAX_FRAME_BYTES - HEADER_BYTES;

export interface FrameHeader {
  readonly program: number;
  readonly procedure: number;
  readonly type: number;
  readonly serial: number;
  readonly status: number;
}

export interface Frame extends FrameHeader {
  readonly version: number;
  readonly body: Buffer;
}

/** Header and body in one buffer, so that a frame is one write; the body is at most `MAX_BODY_BYTES` long. */
export function encodeFrame(header: FrameHeader, body: Uint8Array): Buffer {
  const length = HEADER_BYTES + body.length;
  const frame = Buffer.allocUnsafe(length);
  frame.writeUInt32BE(length, 0);
  frame.writeUInt32BE(header.program, 4);
  frame.writeUInt32BE(PROGRAM_VERSION, 8);
  frame.writeInt32BE(header.procedure, 12);
  frame.writeInt32BE(header.type, 16);
  frame.writeUInt32BE(header.serial, 20);
  frame.writeInt32BE(header.status, 24);
  frame.set(body, HEADER_BYTES);
  return frame;
}

function parseFrame(frame: Buffer): Frame {
  return {
    program: frame.readUInt32BE(4),
    version: frame.readUInt32BE(8),
    procedure: frame.readInt32BE(12),
    type: frame.readInt32BE(16),
    serial: frame.readUInt32BE(20),
    status: frame.readInt32BE(24),
    body: frame.subarray(HEADER_BYTES),
  };
}

/**
 * Cuts a byte stream into frames. Bytes of an unfinished frame are kept as they came and joined once, when the
 * frame is complete: neither many small pieces nor a claimed length costs more than the bytes that arrived.
 */
export class FrameSplitter {
  readonly #maxFrameBytes: number;
  #pieces: Buffer[] = [];
  #held = 0;
  #wanted = 0;

  constructor(maxFrameBytes = MAX_FRAME_BYTES) {
    this.#maxFrameBytes = maxFrameBytes;
  }

  /**
   * Takes the next bytes and gives each frame they complete to `deliver`, in order.
   * @throws LibvirtProtocolError when a length is impossible: the stream cannot be read on from there.
   */
  push(bytes: Buffer, deliver: (frame: Frame) => void): void {
    let rest = this.#join(bytes);
    while (rest.length >= 4) {
      const length = rest.readUInt32BE(0);
      if (length < HEADER_BYTES || length > this.#maxFrameBytes) {
        const bounds = `${String(HEADER_BYTES)} to ${String(this.#maxFrameBytes)}`;
        throw new LibvirtProtocolError(
          `frame length ${String(length)} is outside ${bounds}: this is not libvirt's protocol`,
        );
      }
      if (rest.length < length) {
        this.#wanted = length;
        break;
      }
      const frame = parseFrame(rest.subarray(0, length));
      rest = rest.subarray(length);
      deliver(frame);
    }
    if (rest.length > 0) {
      this.#pieces.push(rest);
      this.#held += rest.length;
    }
  }

  /** What there is to cut: nothing yet, unless the frame that was begun is complete or its length is not known. */
  #join(bytes: Buffer): Buffer {
    if (this.#held === 0) return bytes;
    this.#pieces.push(bytes);
    this.#held += bytes.length;
    if (this.#held < this.#wanted) return EMPTY;
    const joined = Buffer.concat(this.#pieces, this.#held);
    this.#pieces = [];
    this.#held = 0;
    this.#wanted = 0;
    return joined;
  }
}

const EMPTY = Buffer.alloc(0);
