// SPDX-License-Identifier: Apache-2.0
// XDR (RFC 4506) as libvirt speaks it: big-endian words, everything padded to four bytes, every length bounded.

/** Bytes that are not what the protocol says, or a value that the protocol cannot carry. */
export class XdrError extends Error {
  override readonly name = 'XdrError';
}

const padding = (length: number): number => -length & 3;

/** Reads one message. Every read is checked against the end of the message and against the field's own bound. */
export class XdrReader {
  readonly #bytes: Buffer;
  readonly #view: DataView;
  #offset = 0;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  }

  get remaining(): number {
    return this.#bytes.length - this.#offset;
  }

  /** Moves past `size` bytes and returns where they begin. */
  #take(size: number): number {
    const start = this.#offset;
    if (size > this.#bytes.length - start) {
      const place = `${String(start)} of ${String(this.#bytes.length)}`;
      throw new XdrError(`message ends early: ${String(size)} bytes wanted at ${place}`);
    }
    this.#offset = start + size;
    return start;
  }

  int(): number {
    return this.#view.getInt32(this.#take(4));
  }

  uint(): number {
    return this.#view.getUint32(this.#take(4));
  }

  hyper(): bigint {
    return this.#view.getBigInt64(this.#take(8));
  }

  uhyper(): bigint {
    return this.#view.getBigUint64(this.#take(8));
  }

  double(): number {
    return this.#view.getFloat64(this.#take(8));
  }

  /** The presence word of an optional value; anything but 0 and 1 is an error. */
  present(): boolean {
    const word = this.uint();
    if (word > 1) throw new XdrError(`optional value marked with ${String(word)}, not with 0 or 1`);
    return word === 1;
  }

  /** A count or length word of at most `max`. */
  length(max: number): number {
    const length = this.uint();
    if (length > max) throw new XdrError(`length ${String(length)} is above the bound of ${String(max)}`);
    return length;
  }

  string(maxBytes: number): string {
    const length = this.length(maxBytes);
    const start = this.#take(length + padding(length));
    return this.#bytes.toString('utf8', start, start + length);
  }

  /** A copy: the caller may keep it without keeping the whole message alive. */
  opaque(maxBytes: number): Uint8Array {
    return this.fixedOpaque(this.length(maxBytes));
  }

  fixedOpaque(length: number): Uint8Array {
    const start = this.#take(length + padding(length));
    return new Uint8Array(this.#bytes.subarray(start, start + length));
  }

  fixedHex(length: number): string {
    const start = this.#take(length + padding(length));
    return this.#bytes.toString('hex', start, start + length);
  }

  /** Refuses what is left over: a message longer than its description is a different message. */
  end(): void {
    if (this.remaining !== 0) throw new XdrError(`${String(this.remaining)} bytes left over after the message`);
  }
}

const FIRST_CAPACITY = 512;

/** Writes one message into a buffer that grows. A value out of the field's range is refused, never wrapped. */
export class XdrWriter {
  #bytes = Buffer.allocUnsafe(FIRST_CAPACITY);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** Makes room for `size` bytes and returns where they begin. The buffer may be another one afterwards: claim first. */
  #claim(size: number): number {
    const start = this.#length;
    const end = start + size;
    if (end > this.#bytes.length) {
      const grown = Buffer.allocUnsafe(Math.max(end, this.#bytes.length * 2));
      this.#bytes.copy(grown, 0, 0, start);
      this.#bytes = grown;
    }
    this.#length = end;
    return start;
  }

  int(value: number): void {
    if ((value | 0) !== value) throw new XdrError(`${String(value)} is not a signed 32-bit integer`);
    const start = this.#claim(4);
    this.#bytes.writeInt32BE(value, start);
  }

  uint(value: number): void {
    if (value >>> 0 !== value) throw new XdrError(`${String(value)} is not an unsigned 32-bit integer`);
    const start = this.#claim(4);
    this.#bytes.writeUInt32BE(value, start);
  }

  hyper(value: bigint): void {
    if (BigInt.asIntN(64, value) !== value) throw new XdrError(`${String(value)} is not a signed 64-bit integer`);
    const start = this.#claim(8);
    this.#bytes.writeBigInt64BE(value, start);
  }

  uhyper(value: bigint): void {
    if (BigInt.asUintN(64, value) !== value) throw new XdrError(`${String(value)} is not an unsigned 64-bit integer`);
    const start = this.#claim(8);
    this.#bytes.writeBigUInt64BE(value, start);
  }

  double(value: number): void {
    const start = this.#claim(8);
    this.#bytes.writeDoubleBE(value, start);
  }

  present(value: boolean): void {
    this.uint(value ? 1 : 0);
  }

  length32(length: number, max: number): void {
    if (length > max) throw new XdrError(`length ${String(length)} is above the bound of ${String(max)}`);
    this.uint(length);
  }

  /** libvirt's strings are C strings: one with a NUL inside would arrive as another, shorter one. */
  string(value: string, maxBytes: number): void {
    if (value.includes('\0')) throw new XdrError('a string with a NUL character cannot be sent');
    const length = Buffer.byteLength(value, 'utf8');
    this.length32(length, maxBytes);
    const start = this.#claim(length + padding(length));
    this.#bytes.write(value, start, length, 'utf8');
    this.#bytes.fill(0, start + length, this.#length);
  }

  opaque(value: Uint8Array, maxBytes: number): void {
    this.length32(value.length, maxBytes);
    this.#raw(value);
  }

  fixedOpaque(value: Uint8Array, length: number): void {
    if (value.length !== length) {
      throw new XdrError(`${String(value.length)} bytes given where ${String(length)} are needed`);
    }
    this.#raw(value);
  }

  #raw(value: Uint8Array): void {
    const start = this.#claim(value.length + padding(value.length));
    this.#bytes.set(value, start);
    this.#bytes.fill(0, start + value.length, this.#length);
  }

  /** The bytes written so far; valid until the next write. */
  bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }
}
