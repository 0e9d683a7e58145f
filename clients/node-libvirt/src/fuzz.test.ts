// SPDX-License-Identifier: Apache-2.0
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, it } from 'vitest';
import type { Codec } from './codec.js';
import { LibvirtProtocolError } from './errors.js';
import { FrameSplitter, MessageType, PROGRAM, Status, encodeFrame } from './frame.js';
import { eventMessages, procedures } from './procedures.js';
import { decodeBody } from './rpc-client.js';
import { damage, randomFrom, randomMessage } from './testing/random.js';
import { errorReply } from './wire-types.js';

const FRAMES = 100_000;
const MAX_GROWTH_BYTES = 50e6;
const seed = Number(process.env['LIBVIRT_FUZZ_SEED'] ?? Math.floor(Math.random() * 2 ** 32));

/** Asks V8 for its collector, which Node does not hand out without a flag. */
function collector(): () => void {
  setFlagsFromString('--expose-gc');
  return runInNewContext('gc') as () => void;
}

it(`survives ${String(FRAMES)} damaged frames (LIBVIRT_FUZZ_SEED=${String(seed)})`, { timeout: 120_000 }, () => {
  console.log(`fuzz seed: LIBVIRT_FUZZ_SEED=${String(seed)}`);
  const collect = collector();
  const random = randomFrom(seed);
  const codecs: readonly Codec<unknown>[] = [
    errorReply,
    ...Object.values(procedures).map(({ ret }) => ret),
    ...Object.values(procedures).map(({ args }) => args),
    ...Object.values(eventMessages).map(({ msg }) => msg),
  ] as readonly Codec<unknown>[];
  const outcome = { decoded: 0, refused: 0, streams: 0 };
  let splitter = new FrameSplitter();
  const deliver = (codec: Codec<unknown>) => (frame: { readonly body: Buffer }): void => {
    try {
      decodeBody('fuzz', codec, frame.body);
      outcome.decoded += 1;
    } catch (error) {
      expect(error).toBeInstanceOf(LibvirtProtocolError);
      outcome.refused += 1;
    }
  };
  const header = { program: PROGRAM.remote, type: MessageType.reply, status: Status.ok };
  collect();
  const before = process.memoryUsage();
  const frames = (): number => outcome.decoded + outcome.refused + outcome.streams;
  for (let serial = 1; frames() < FRAMES; serial += 1) {
    const codec = codecs[random(codecs.length)] ?? errorReply;
    const frame = encodeFrame({ ...header, procedure: 1, serial }, damage(randomMessage(codec.layout, random), random));
    // One in twenty is damaged in its header, too, and comes in pieces.
    const bytes = random(20) === 0 ? damage(frame, random) : frame;
    const cut = random(bytes.length + 1);
    try {
      splitter.push(bytes.subarray(0, cut), deliver(codec as Codec<unknown>));
      splitter.push(bytes.subarray(cut), deliver(codec as Codec<unknown>));
    } catch (error) {
      expect(error).toBeInstanceOf(LibvirtProtocolError);
      splitter = new FrameSplitter();
      outcome.streams += 1;
    }
    if (random(50) === 0) splitter = new FrameSplitter();
  }
  collect();
  const after = process.memoryUsage();
  const grown = after.heapUsed + after.external - before.heapUsed - before.external;
  console.log(`${JSON.stringify(outcome)}, memory grew by ${(grown / 1e6).toFixed(1)} MB`);
  expect(grown).toBeLessThan(MAX_GROWTH_BYTES);
  // All three ends were reached, so the fuzz went past the first check.
  expect(Math.min(outcome.decoded, outcome.refused, outcome.streams)).toBeGreaterThan(100);
});
