// SPDX-License-Identifier: Apache-2.0
import { type ServerInterceptor, ServerInterceptingCall } from '@grpc/grpc-js';
import type { CallContext } from 'nice-grpc-common';
import { systemClock } from '../clock/system.js';

/** Set by the server's interceptor alone; whatever a client sends under these names is removed. */
const IDENTITY_KEY = 'x-lockstep-identity';
const DEADLINE_KEY = 'x-lockstep-deadline';
/** Set by a replica that forwards: the identity of its own caller. Its presence is the one-hop guard. */
export const FORWARDED_KEY = 'x-lockstep-forwarded';

/** Who calls, and until when the answer is of use. */
export interface Caller {
  /** Subject alternative name of the peer's certificate; undefined over plain text. Cannot be forged. */
  identity: string | undefined;
  /** The identity that a forwarding replica vouches for; undefined: the call came directly. */
  forwardedFor: string | undefined;
  /** For records: the identity, or "USER via REPLICA", or the address over plain text. */
  name: string;
  /** On the server's monotonic clock ({@link systemClock}); undefined: no deadline. */
  deadlineAtMs: number | undefined;
}

/** Who makes this call. */
export function callerOf(context: Pick<CallContext, 'metadata' | 'peer'>): Caller {
  const identity = context.metadata.get(IDENTITY_KEY);
  const forwardedFor = context.metadata.get(FORWARDED_KEY);
  const deadline = context.metadata.get(DEADLINE_KEY);
  const peer = identity ?? context.peer;
  return {
    identity,
    forwardedFor,
    name: forwardedFor === undefined ? peer : `${forwardedFor} via ${peer}`,
    deadlineAtMs: deadline === undefined ? undefined : Number(deadline),
  };
}

/**
 * The name a certificate stands for: its first URI, else DNS name, else mail address. Names that Node had to quote
 * contain characters no honest name has, and do not count.
 */
export function identityOf(subjectAltName: string): string | undefined {
  const names = [...subjectAltName.matchAll(/(?:^|, )(URI|DNS|email):([^",\s]+)(?=,|$)/g)];
  const first = (kind: string): string | undefined => names.find((name) => name[1] === kind)?.[2];
  const identity = first('URI') ?? first('DNS') ?? first('email');
  return identity?.replace(/[^\x21-\x7e]/g, '?');
}

/**
 * Hands the certificate's name and the deadline on to the handlers. nice-grpc's call context has neither, so they go
 * through metadata, after the client's own entries of these names were taken out.
 */
export const callerInterceptor: ServerInterceptor = (_method, call) =>
  new ServerInterceptingCall(call, {
    start: (next) => {
      next({
        onReceiveMetadata: (metadata, pass) => {
          metadata.remove(IDENTITY_KEY);
          metadata.remove(DEADLINE_KEY);
          const identity = identityOf(call.getAuthContext().sslPeerCertificate?.subjectaltname ?? '');
          if (identity !== undefined) metadata.set(IDENTITY_KEY, identity);
          const deadline = call.getDeadline();
          const leftMs = Number(deadline) - Date.now();
          if (Number.isFinite(leftMs)) metadata.set(DEADLINE_KEY, String(systemClock.nowMs() + leftMs));
          pass(metadata);
        },
      });
    },
  });
