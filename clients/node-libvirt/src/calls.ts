// SPDX-License-Identifier: Apache-2.0
// Which calls are with the server, which wait for their turn, and what ends each of them.
import {
  type Unanswered, LibvirtAbortedError, LibvirtBusyError, type LibvirtClosedError, LibvirtDeadlineError,
} from './errors.js';
import type { Frame } from './frame.js';

/** How long a caller waits for one call. */
export interface CallOptions {
  /** Milliseconds from now, waiting for a free slot included; `'none'` waits as long as the connection lives. */
  readonly deadlineMs?: number | 'none';
  /** Gives the call up. What libvirt already does is not undone by that. */
  readonly signal?: AbortSignal;
}

/** One call from its submission to its end; exactly one of `onReply` and `onFailure` is called, once. */
export interface Submission {
  readonly procedure: string;
  readonly deadlineMs: number | 'none';
  readonly signal: AbortSignal | undefined;
  readonly send: (serial: number) => void;
  readonly onReply: (frame: Frame) => void;
  readonly onFailure: (error: Error) => void;
}

/** A call whose caller still waits. */
interface Waiter {
  readonly submission: Submission;
  /** Takes the call's timer and its listener away. */
  readonly release: () => void;
  sentAs: number | undefined;
}

/** What a connection is busy with. `inFlight` counts abandoned calls too: the server still works on them. */
export interface CallLoad {
  readonly inFlight: number;
  readonly abandoned: number;
  readonly queued: number;
  readonly lateReplies: number;
}

/**
 * libvirtd stops *reading* a connection that has five calls open (`max_client_requests`), pings included, and our own
 * keepalive would then end it. So at most four are ever open, and one that was given up counts until its late
 * reply comes: giving up a call does not stop it in libvirtd.
 */
export const MAX_IN_FLIGHT = 4;
export const MAX_QUEUED = 256;
/** Node fires a longer timer at once. */
const MAX_TIMER_MS = 2 ** 31 - 1;

export class CallTable {
  /** By serial; `undefined` is a call that was abandoned and whose reply is still to come. */
  readonly #inFlight = new Map<number, Waiter | undefined>();
  readonly #queue: Waiter[] = [];
  #lastSerial = 0;
  #lateReplies = 0;
  #closed: LibvirtClosedError | undefined;

  get load(): CallLoad {
    let abandoned = 0;
    for (const waiter of this.#inFlight.values()) if (waiter === undefined) abandoned += 1;
    return {
      inFlight: this.#inFlight.size, abandoned, queued: this.#queue.length, lateReplies: this.#lateReplies,
    };
  }

  submit(submission: Submission): void {
    const unsent: Unanswered = { procedure: submission.procedure, sent: false };
    if (this.#closed !== undefined) {
      submission.onFailure(this.#closed.forCall(unsent));
    } else if (submission.signal?.aborted === true) {
      submission.onFailure(new LibvirtAbortedError(unsent, submission.signal.reason));
    } else if (this.#queue.length >= MAX_QUEUED) {
      submission.onFailure(new LibvirtBusyError(submission.procedure, this.#queue.length));
    } else {
      this.#queue.push(this.#waiter(submission));
      this.#pump();
    }
  }

  /** A reply came. One that nobody waits for is dropped; either way its slot is free again. */
  settle(frame: Frame): void {
    if (!this.#inFlight.has(frame.serial)) return;
    const waiter = this.#inFlight.get(frame.serial);
    this.#inFlight.delete(frame.serial);
    if (waiter === undefined) {
      this.#lateReplies += 1;
    } else {
      waiter.release();
      waiter.submission.onReply(frame);
    }
    this.#pump();
  }

  /** The connection ended: nothing is left hanging, neither sent nor queued. */
  closeAll(error: LibvirtClosedError): void {
    this.#closed = error;
    const waiters = [...this.#inFlight.values(), ...this.#queue];
    this.#inFlight.clear();
    this.#queue.length = 0;
    for (const waiter of waiters) {
      if (waiter === undefined) continue;
      waiter.release();
      const { procedure, onFailure } = waiter.submission;
      onFailure(error.forCall({ procedure, sent: waiter.sentAs !== undefined }));
    }
  }

  #waiter(submission: Submission): Waiter {
    const { signal, deadlineMs, procedure } = submission;
    const giveUp = (why: (call: Unanswered) => Error): void => {
      waiter.release();
      if (waiter.sentAs === undefined) this.#queue.splice(this.#queue.indexOf(waiter), 1);
      else this.#inFlight.set(waiter.sentAs, undefined);
      submission.onFailure(why({ procedure, sent: waiter.sentAs !== undefined }));
    };
    const onAbort = (): void => { giveUp((call) => new LibvirtAbortedError(call, signal?.reason)); };
    const timer = deadlineMs === 'none' ? undefined : setTimeout(() => {
      giveUp((call) => new LibvirtDeadlineError({ ...call, deadlineMs }));
    }, Math.min(deadlineMs, MAX_TIMER_MS));
    signal?.addEventListener('abort', onAbort, { once: true });
    const waiter: Waiter = {
      submission,
      sentAs: undefined,
      release: () => {
        clearTimeout(timer);
        signal?.removeEventListener('abort', onAbort);
      },
    };
    return waiter;
  }

  #pump(): void {
    while (this.#inFlight.size < MAX_IN_FLIGHT) {
      const waiter = this.#queue.shift();
      if (waiter === undefined) return;
      const serial = this.#nextSerial();
      waiter.sentAs = serial;
      this.#inFlight.set(serial, waiter);
      waiter.submission.send(serial);
    }
  }

  /** 32 bits that wrap; a serial whose late reply is still to come is not used again. */
  #nextSerial(): number {
    do {
      this.#lastSerial = this.#lastSerial === 0xffff_ffff ? 1 : this.#lastSerial + 1;
    } while (this.#inFlight.has(this.#lastSerial));
    return this.#lastSerial;
  }
}
