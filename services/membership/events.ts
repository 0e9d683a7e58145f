// SPDX-License-Identifier: Apache-2.0
import type { Event, EventSeverity } from '@lockstep/sdk/v1';
import { eventCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import type { Env } from '../platform/env.js';
import type { TxnOp } from '../platform/store/store.js';
import { check, type LeaderRoleName, type Term } from './leadership.js';

/** Something that happened, as the one who did it tells it. */
export interface Happening {
  severity: Exclude<EventSeverity, typeof EventSeverity.UNSPECIFIED | typeof EventSeverity.UNRECOGNIZED>;
  /** Reason code, upper case with underscores. */
  reason: string;
  /** One sentence. */
  message: string;
  /** What it is about; see {@link subjects}. */
  subject: string;
  /** Who caused it; the leader's role unless told. */
  actor?: string;
}

/** The leader's pen for the history of what happened. */
export interface EventLog {
  /** The step that writes it in the transaction of the deed, so that neither is there without the other. */
  step(happening: Happening): TxnOp;
  /** Writes it by itself. Where the store does not take it, it is logged and nothing fails: it has happened all the same. */
  emit(happening: Happening): Promise<void>;
}

/** What an event can be about: kind and name, as in the store. */
export const subjects = {
  vm: (id: string) => `vms/${id}`,
  node: (name: string) => `nodes/${name}`,
  migration: (id: string) => `migrations/${id}`,
  drain: (id: string) => `drains/${id}`,
  fenceAction: (id: string) => `fence-actions/${id}`,
  cluster: 'cluster',
} as const;

const WRITE_DEADLINE_MS = 5_000;
const LONGEST_MESSAGE = 1_000;

export function createEventLog(
  { clock, random, store, log }: Pick<Env, 'clock' | 'random' | 'store' | 'log'>,
  term: Term,
  role: LeaderRoleName,
): EventLog {
  const mine = log.child('events');
  const eventOf = ({ actor = role, message, ...told }: Happening): Event => ({
    ...told,
    id: random.uuid(),
    time: clock.wallTime(),
    message: message.slice(0, LONGEST_MESSAGE),
    actor,
  });
  const step = (happening: Happening): TxnOp => {
    const event = eventOf(happening);
    return { op: 'set', key: keys.event(event.id), value: eventCodec.encode(event) };
  };
  return {
    step,
    async emit(happening) {
      const { reason, message, subject } = happening;
      try {
        const { outcome } = await store.txn([check(term), step(happening)], { deadlineMs: WRITE_DEADLINE_MS });
        if (outcome === 'conflict') mine.warn(`not kept, as this leader leads no more: ${reason}: ${message}`, { subject });
      } catch (error) {
        mine.warn(`not kept: ${reason}: ${message}`, { subject, error });
      }
    },
  };
}
