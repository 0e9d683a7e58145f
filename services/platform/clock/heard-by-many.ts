// SPDX-License-Identifier: Apache-2.0
import { setMaxListeners } from 'node:events';

/** A signal that everything of a long life listens to, one listener per wait: Node need not take that for a leak. */
export function heardByMany(signal: AbortSignal): AbortSignal {
  setMaxListeners(0, signal);
  return signal;
}
