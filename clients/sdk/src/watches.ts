// SPDX-License-Identifier: Apache-2.0
import { Status } from 'nice-grpc-common';
import type { ApiError} from './errors.js';
import { toApiError } from './errors.js';
import type { CallLimits } from './transport/deadline.js';
import type {
  FencerServiceClient,
  SchedulerServiceClient,
  WatchDrainsResponse,
  WatchEventsResponse,
  WatchFenceActionsResponse,
  WatchMigrationsResponse,
  WatchNodesResponse,
  WatchVmsResponse,
} from './v1.js';
import { wait } from './wait.js';

/** Options of a watch. */
export interface WatchLimits {
  /** Aborting it ends the watch without an error. */
  signal?: AbortSignal;
  /** Goes on after the message that carried this token. */
  resumeToken?: string;
  /** How long nothing at all may be heard before the watch gives up, in milliseconds; 60,000 unless told. */
  patienceMs?: number;
}

/**
 * Watches that go on by themselves over elections and lost connections, from the token of the last message: nothing is
 * missed. What a token cannot bring back is told by a new snapshot; `events` has none and fails with
 * RESUME_TOKEN_EXPIRED: list them again. Messages without content are heartbeats.
 */
export interface Watches {
  vms(limits?: WatchLimits): AsyncIterable<WatchVmsResponse>;
  /** One migration, to its end, or all where no ID is given. */
  migrations(limits?: WatchLimits & { id?: string }): AsyncIterable<WatchMigrationsResponse>;
  nodes(limits?: WatchLimits): AsyncIterable<WatchNodesResponse>;
  drains(limits?: WatchLimits): AsyncIterable<WatchDrainsResponse>;
  events(limits?: WatchLimits): AsyncIterable<WatchEventsResponse>;
  /** Of the leading Fencer, whoever that is at the time. */
  fenceActions(limits?: WatchLimits): AsyncIterable<WatchFenceActionsResponse>;
}

const PATIENCE_MS = 60_000;
/** Heartbeats come every five seconds. */
const SILENCE_MS = 20_000;
const FIRST_PAUSE_MS = 250;
const LONGEST_PAUSE_MS = 5_000;

export function watchesOf(
  scheduler: SchedulerServiceClient<CallLimits>,
  fencer: () => Promise<FencerServiceClient<CallLimits>>,
): Watches {
  return {
    vms: (limits) => resumed(limits, (resumeToken, signal) => scheduler.watchVms({ resumeToken }, { signal })),
    migrations: ({ id = '', ...limits } = {}) =>
      resumed(limits, (resumeToken, signal) => scheduler.watchMigrations({ id, resumeToken }, { signal }), {
        isEnd: ({ changed }) => id !== '' && changed.some(({ endTime }) => endTime !== undefined),
      }),
    nodes: (limits) => resumed(limits, (resumeToken, signal) => scheduler.watchNodes({ resumeToken }, { signal })),
    drains: (limits) => resumed(limits, (resumeToken, signal) => scheduler.watchDrains({ resumeToken }, { signal })),
    events: (limits) =>
      resumed(limits, (resumeToken, signal) => scheduler.watchEvents({ resumeToken }, { signal }), { hasSnapshot: false }),
    fenceActions: (limits) =>
      resumed(limits, async function* (resumeToken, signal) {
        yield* (await fencer()).watchFenceActions({ resumeToken }, { signal });
      }),
  };
}

interface Kind<M> {
  /** The message after which there is nothing more to come. */
  isEnd?: (message: M) => boolean;
  /** False: a token that expired is the caller's to know. */
  hasSnapshot?: boolean;
}

async function* resumed<M extends { resumeToken: string }>(
  { signal, resumeToken = '', patienceMs = PATIENCE_MS }: WatchLimits = {},
  open: (resumeToken: string, signal: AbortSignal) => AsyncIterable<M>,
  { isEnd = () => false, hasSnapshot = true }: Kind<M> = {},
): AsyncGenerator<M, void, undefined> {
  let token = resumeToken;
  let heardAtMs = performance.now();
  let pauseMs = FIRST_PAUSE_MS;
  while (signal?.aborted !== true) {
    const line = new Line(signal);
    try {
      for await (const message of open(token, line.signal)) {
        line.heard();
        heardAtMs = performance.now();
        pauseMs = FIRST_PAUSE_MS;
        token = message.resumeToken;
        yield message;
        if (isEnd(message)) return;
      }
    } catch (thrown) {
      const error = toApiError(thrown);
      if (hasEnded(signal)) return;
      if (error.reason === 'RESUME_TOKEN_EXPIRED' && hasSnapshot && token !== '') token = '';
      else if (!mayPass(error) && !line.wentSilent) throw error;
      else if (performance.now() - heardAtMs > patienceMs) throw error;
    } finally {
      line.hangUp();
    }
    await wait(pauseMs, signal).catch(() => undefined);
    pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS);
  }
}

/** One connection's signal: it ends with the caller's, and where nothing comes any more. */
class Line {
  readonly #controller = new AbortController();
  readonly #onAbort = (): void => {
    this.#controller.abort();
  };
  #timer: NodeJS.Timeout | undefined;
  wentSilent = false;

  constructor(private readonly outer: AbortSignal | undefined) {
    if (outer?.aborted === true) this.#onAbort();
    outer?.addEventListener('abort', this.#onAbort, { once: true });
    this.heard();
  }

  get signal(): AbortSignal {
    return this.#controller.signal;
  }

  heard(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.wentSilent = true;
      this.#controller.abort();
    }, SILENCE_MS);
  }

  hangUp(): void {
    clearTimeout(this.#timer);
    this.outer?.removeEventListener('abort', this.#onAbort);
    this.#controller.abort();
  }
}

function mayPass({ code }: ApiError): boolean {
  return code === Status.UNAVAILABLE || code === Status.DEADLINE_EXCEEDED;
}

/** Asked through a function, as the compiler takes a signal that was not aborted for one that never will be. */
function hasEnded(signal: AbortSignal | undefined): boolean {
  return signal?.aborted === true;
}
