// SPDX-License-Identifier: Apache-2.0

/** A type of message, as the generated code has it. */
export interface Codec {
  fromPartial(message: unknown): unknown;
  encode(message: unknown): { finish(): Uint8Array };
  decode(bytes: Uint8Array): unknown;
}

/** Of the messages of a type one of so many goes encoded, the first among them. */
const ENCODED_OF = 16;

/** Messages as those who get them have them: no object is shared. */
export class Wire {
  readonly #carried = new Map<Codec, number>();

  /** Copied field by field, as the wire would hand it out; the wire itself takes some of them, as its work is most of a call's. */
  carried(type: Codec, message: unknown): unknown {
    const before = this.#carried.get(type) ?? 0;
    this.#carried.set(type, before + 1);
    const whole = type.fromPartial(message);
    return before % ENCODED_OF === 0 ? type.decode(type.encode(whole).finish()) : whole;
  }
}
