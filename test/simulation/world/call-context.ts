// SPDX-License-Identifier: Apache-2.0
import { type CallContext, Metadata } from 'nice-grpc-common';

/** No service sends any. */
const NO_METADATA = Metadata();
const NOTHING = (): void => undefined;

/** What a handler is told of its call besides the request. */
export function contextOf(
  { peer, signal, untilMs }: { peer: string; signal: AbortSignal; /** By the server's own clock. */ untilMs: number | undefined },
  given: ReturnType<typeof Metadata> | undefined,
): CallContext {
  let made: ReturnType<typeof Metadata> | undefined;
  return {
    // Most handlers ask for none, and making it costs more than the rest of a call's context.
    get metadata() {
      if (made === undefined) {
        made = Metadata(given);
        if (untilMs !== undefined) made.set('x-lockstep-deadline', String(untilMs));
      }
      return made;
    },
    peer,
    signal,
    header: NO_METADATA,
    trailer: NO_METADATA,
    sendHeader: NOTHING,
  };
}
