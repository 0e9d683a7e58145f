// SPDX-License-Identifier: Apache-2.0
import { ApiError, toApiError } from './errors.js';
import {
  type LimitedCallOptions,
  mapMethods,
  type MethodInfo,
  type ServiceInfo,
  streamOf,
  unaryOf,
  type UntypedClient,
} from './transport/client.js';
import { wait } from './wait.js';

/** Refusals after which another replica, or the same one a little later, may well say yes. */
const ELSEWHERE: ReadonlySet<string> = new Set([
  'SERVER_UNREACHABLE',
  'NO_LEADER',
  'NOT_LEADER',
  'STOPPING',
  'STORE_UNAVAILABLE',
]);

/** Pause between rounds over all replicas, in milliseconds. */
const FIRST_PAUSE_MS = 200;
const LONGEST_PAUSE_MS = 2_000;

/** One replica of a service. */
export interface Replica {
  readonly address: string;
  readonly client: UntypedClient;
}

/** The replicas of a service; the one that answered last is asked first. */
export class Replicas {
  #current = 0;

  constructor(readonly all: readonly Replica[]) {}

  get current(): Replica {
    const replica = this.all[this.#current];
    if (replica === undefined) throw new Error('no servers');
    return replica;
  }

  /** Turns to the next one, unless another call has done so since `failed` was asked. */
  leave(failed: Replica): void {
    if (this.all[this.#current] === failed) this.#current = (this.#current + 1) % this.all.length;
  }
}

/** Whether a failed call may be sent again. One that was refused before anything was done always may. */
function mayRepeat(error: ApiError, { options }: MethodInfo): boolean {
  if (!ELSEWHERE.has(error.reason)) return false;
  return options.idempotencyLevel !== undefined || error.reason === 'NO_LEADER' || error.reason === 'NOT_LEADER';
}

/** An error that no service gave a reason for says which server it was about. */
function naming({ address }: Replica, error: ApiError): ApiError {
  if (error.answered || error.reason === 'CANCELLED') return error;
  const { reason, code } = error;
  return new ApiError(`${address}: ${error.message}`, { reason, code, metadata: { server: address } }, { cause: error });
}

/** How long, and until whose abort, a call is tried. */
interface AttemptLimits {
  deadlineMs: number;
  signal?: AbortSignal;
}

/** One call's way through the replicas. */
class Attempts {
  readonly #replicas: Replicas;
  readonly #info: MethodInfo;
  readonly #signal: AbortSignal | undefined;
  readonly #untilMs: number;
  #asked: Replica;
  #failures = 0;
  #allSilent = true;
  #pauseMs = FIRST_PAUSE_MS;

  constructor(replicas: Replicas, info: MethodInfo, { deadlineMs, signal }: AttemptLimits) {
    this.#replicas = replicas;
    this.#info = info;
    this.#signal = signal;
    this.#untilMs = performance.now() + deadlineMs;
    this.#asked = replicas.current;
  }

  /** The replica to ask now. */
  next(): UntypedClient {
    this.#asked = this.#replicas.current;
    return this.#asked.client;
  }

  /** What is left of the call's limit, in milliseconds. */
  get leftMs(): number {
    return Math.max(1, this.#untilMs - performance.now());
  }

  /** What a call ends with that cannot be tried again any more. */
  ended(thrown: unknown): ApiError {
    return naming(this.#asked, toApiError(thrown));
  }

  /**
   * Takes a failure in: returns when the call shall be tried again, throws where it shall not. After a round in which no
   * replica answered at all it gives up; where one did, an election goes on, and it waits within the call's limit.
   */
  async failed(thrown: unknown): Promise<void> {
    const error = this.ended(thrown);
    // Whoever let the whole limit pass is not asked first again.
    if (error.reason === 'DEADLINE' && !error.answered) this.#replicas.leave(this.#asked);
    if (!mayRepeat(error, this.#info)) throw error;
    this.#replicas.leave(this.#asked);
    this.#allSilent &&= error.reason === 'SERVER_UNREACHABLE';
    this.#failures += 1;
    if (this.#failures % this.#replicas.all.length !== 0) return;
    if (this.#allSilent || this.#untilMs - performance.now() <= this.#pauseMs) throw error;
    this.#allSilent = true;
    await wait(this.#pauseMs, this.#signal);
    this.#pauseMs = Math.min(this.#pauseMs * 2, LONGEST_PAUSE_MS);
  }
}

/**
 * A client that takes any replica: where one does not answer or does not lead, the call goes to the next, as far as
 * repeating it is harmless. A stream moves on only before its first message. Rejects with ApiError.
 */
export function failoverClient(definition: ServiceInfo, replicas: Replicas, defaultMs: number): object {
  return mapMethods(definition, {
    unary: (method, info) =>
      async function call(request, options?: LimitedCallOptions) {
        const attempts = new Attempts(replicas, info, { deadlineMs: defaultMs, ...options });
        for (;;) {
          try {
            return await unaryOf(attempts.next(), method)(request, { ...options, deadlineMs: attempts.leftMs });
          } catch (error) {
            await attempts.failed(error);
          }
        }
      },
    stream: (method, info) =>
      async function* watch(request, options?: LimitedCallOptions) {
        const attempts = new Attempts(replicas, info, { deadlineMs: defaultMs, ...options });
        for (let begun = false; ; ) {
          try {
            for await (const message of streamOf(attempts.next(), method)(request, options)) {
              begun = true;
              yield message;
            }
            return;
          } catch (error) {
            if (begun) throw attempts.ended(error);
            await attempts.failed(error);
          }
        }
      },
  });
}
