// SPDX-License-Identifier: Apache-2.0
import { type ErrorCodeName, ErrorCode, errorCodeName, errorDomainName } from './error-names.js';

/** What libvirt's error reply carries. */
export interface LibvirtErrorReply {
  readonly code: number;
  readonly domain: number;
  readonly message: string | null;
  readonly level: number;
  readonly str1: string | null;
  readonly str2: string | null;
  readonly str3: string | null;
  readonly int1: number;
  readonly int2: number;
}

/** libvirt did the call, or refused it, and answered with an error. */
export class LibvirtError extends Error {
  override readonly name = 'LibvirtError';
  /** libvirt's error code; compare with `ErrorCode`. */
  readonly code: number;
  /** The code's name without prefix, e.g. `NO_DOMAIN`. */
  readonly codeName: string;
  /** The part of libvirt that raised it. */
  readonly domain: number;
  /** The part's name without prefix, e.g. `QEMU`. */
  readonly domainName: string;
  /** 1 warning, 2 error. */
  readonly level: number;
  /** libvirt's further texts; what they mean depends on the code. */
  readonly details: readonly string[];
  /** The procedure that was called, e.g. `domainLookupByName`. */
  readonly procedure: string;

  constructor(procedure: string, reply: LibvirtErrorReply) {
    const codeName = errorCodeName(reply.code);
    super(reply.message ?? `libvirt gave no message (${codeName})`);
    this.procedure = procedure;
    this.code = reply.code;
    this.codeName = codeName;
    this.domain = reply.domain;
    this.domainName = errorDomainName(reply.domain);
    this.level = reply.level;
    this.details = [reply.str1, reply.str2, reply.str3].filter((text) => text !== null);
  }
}

/** True if `error` is libvirt's answer with one of these codes. */
export function isLibvirtError(error: unknown, ...codes: readonly ErrorCodeName[]): error is LibvirtError {
  return error instanceof LibvirtError && (codes.length === 0 || codes.some((name) => ErrorCode[name] === error.code));
}

/**
 * What a call that got no answer knows about itself. `sent` decides what its caller may do: false means libvirt
 * never saw the call; true means that it may have been done, may be done later, or never.
 */
export interface Unanswered {
  readonly procedure: string;
  readonly sent: boolean;
}

const fate = (call: Unanswered): string =>
  call.sent ? 'it was sent, its outcome is unknown' : 'it was never sent to libvirt';

/** No reply before the call's deadline. The connection stays open. */
export class LibvirtDeadlineError extends Error implements Unanswered {
  override readonly name = 'LibvirtDeadlineError';
  readonly procedure: string;
  readonly sent: boolean;
  readonly deadlineMs: number;

  constructor(call: Unanswered & { readonly deadlineMs: number }) {
    super(`${call.procedure}: no reply within ${String(call.deadlineMs)} ms; ${fate(call)}`);
    this.procedure = call.procedure;
    this.sent = call.sent;
    this.deadlineMs = call.deadlineMs;
  }
}

/** The caller's signal fired; `cause` is the signal's reason. The connection stays open. */
export class LibvirtAbortedError extends Error implements Unanswered {
  override readonly name = 'AbortError';
  readonly procedure: string;
  readonly sent: boolean;

  constructor(call: Unanswered, reason: unknown) {
    super(`${call.procedure}: given up by its caller; ${fate(call)}`, { cause: reason });
    this.procedure = call.procedure;
    this.sent = call.sent;
  }
}

/** Too many calls already wait for a free slot on this connection; this one was not sent. */
export class LibvirtBusyError extends Error implements Unanswered {
  override readonly name = 'LibvirtBusyError';
  readonly procedure: string;
  readonly sent = false;

  constructor(procedure: string, waiting: number) {
    super(`${procedure}: ${String(waiting)} calls already wait for a slot on this connection`);
    this.procedure = procedure;
  }
}

/** Why a connection ended. */
export type CloseReason = 'local' | 'remote' | 'socket' | 'keepalive' | 'protocol';

/** The connection ended, by whomever; `cause` holds the underlying error if there is one. */
export class LibvirtClosedError extends Error implements Unanswered {
  override readonly name = 'LibvirtClosedError';
  readonly reason: CloseReason;
  readonly procedure: string;
  readonly sent: boolean;
  readonly #text: string;

  constructor(reason: CloseReason, text: string, options?: ErrorOptions & Partial<Unanswered>) {
    const { procedure = '', sent = false } = options ?? {};
    super(procedure === '' ? text : `${procedure}: ${text}; ${fate({ procedure, sent })}`, options);
    this.reason = reason;
    this.procedure = procedure;
    this.sent = sent;
    this.#text = text;
  }

  /** The same end, told to one of the calls that it cut off. */
  forCall(call: Unanswered): LibvirtClosedError {
    return new LibvirtClosedError(this.reason, this.#text, { ...call, cause: this.cause ?? this });
  }
}

/** The socket could not be opened; `cause` is the system's error. */
export class LibvirtConnectError extends Error {
  override readonly name = 'LibvirtConnectError';
  readonly socketPath: string;

  constructor(socketPath: string, why: string, options?: ErrorOptions) {
    super(`cannot connect to libvirt at ${socketPath}: ${why}`, options);
    this.socketPath = socketPath;
  }
}

/**
 * Bytes that break the protocol. About one reply: only its call fails, with this error. About the stream itself:
 * the connection closes with the reason `protocol` and this error as its cause. Also thrown, before anything is
 * sent, for an argument that the protocol cannot carry.
 */
export class LibvirtProtocolError extends Error {
  override readonly name = 'LibvirtProtocolError';
}
