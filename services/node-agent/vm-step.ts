// SPDX-License-Identifier: Apache-2.0
import { VmDesired } from '@lockstep/sdk/v1';
import type { Reason } from '../core/errors/catalogue.js';
import type { Domain } from '../platform/hypervisor/hypervisor.js';
import { isActive } from './domain-states.js';
import { isIncoming } from './facts.js';
import type { VmNotes } from './memory-document.js';

/** What a VM shall be here, as far as a step needs it. */
export interface Wish {
  desired: VmDesired;
  placementEpoch: bigint;
  /** Its definition with the placement epoch in it; undefined where only the wish itself is known. */
  xml: string | undefined;
  /** What it rests on: an order of this life, the record as read in this life, or only the memory of an earlier life. */
  from: 'order' | 'record' | 'memory';
  shutdownLimitMs: number;
  maxRestart: number;
}

/** What this life of the agent has seen and done of the VM. */
export interface VmHistory {
  /** What was last defined from a wish. */
  definedXml: string | undefined;
  /** A copy under this wish was seen to be active, or was started. */
  wasActive: boolean;
  /** Times it ended by itself, or could not be started, under this wish. */
  failures: number;
  /** What it was the last time. */
  lastFailure: string;
  /** Times in a row that a lock on its storage kept it from starting. */
  lockedTries: number;
  /** Not started before this moment. */
  notBeforeMs: number;
  /** A stop that was begun, and whether it had to be forced. */
  stopping: { sinceMs: number; askedMs: number; forced: boolean } | undefined;
}

export interface StepInput {
  domain: Domain | undefined;
  wish: Wish | undefined;
  notes: Readonly<VmNotes>;
  history: VmHistory;
  /** The record, read after joining, places the VM on another node under this epoch, and no migration is open. */
  supersededBy: bigint | undefined;
  /** The host goes down: `stay` starts nothing any more, `stop` also stops what runs. */
  leaving: 'no' | 'stay' | 'stop';
  nowMs: number;
}

/** The next thing to do for one VM. `rest` and `held` do nothing now; `wait` comes back at that moment. */
export type Step =
  | { do: 'rest' }
  | { do: 'wait'; untilMs: number }
  | { do: 'held'; reason: Reason; detail: string }
  | { do: 'define'; xml: string }
  | { do: 'stamp'; placementEpoch: bigint }
  /** `ownAccord`: no order asks for this start, so the record is read first. */
  | { do: 'start'; ownAccord: boolean }
  | { do: 'ask-shutdown' }
  | { do: 'destroy' }
  | { do: 'undefine' }
  /** Gives up a copy that was replaced by one elsewhere, running or not: floor, destroy, undefine. */
  | { do: 'surrender'; upToEpoch: bigint };

/** A guest may be busy or not listen yet; asking again costs nothing. */
const ASK_AGAIN_MS = 10_000;

const REST: Step = { do: 'rest' };

/** Compares what is with what shall be, for one VM; the whole picture every time, never a change of it. Pure. */
export function nextStep(input: StepInput): Step {
  const { domain, wish, notes } = input;
  if (notes.outgoing !== undefined || notes.armed?.closed === false) {
    return { do: 'held', reason: 'VM_LOCKED', detail: 'a migration of this VM is open' };
  }
  const superseded = supersededCopy(input);
  if (superseded !== undefined) return superseded;
  const given = domain?.placementEpoch !== undefined && domain.placementEpoch <= notes.floor;
  if (domain !== undefined && given && !isWantedAgain(domain, input)) return leftOver(domain);
  if (wish === undefined || wish.desired === VmDesired.UNMANAGED) return REST;
  if (wish.placementEpoch <= notes.floor) {
    return { do: 'held', reason: 'STALE_PLACEMENT', detail: `placement epoch ${String(wish.placementEpoch)} was given up` };
  }
  if (domain === undefined) return towardsDefined(input, wish);
  const foreign = notOfThisWish(domain, wish);
  if (foreign !== undefined) return foreign;
  if (domain.placementEpoch !== wish.placementEpoch) return takeOver(domain, wish);
  const run = wish.desired === VmDesired.RUNNING && input.leaving !== 'stop';
  return run ? towardsRunning(domain, input, wish) : towardsStopped(domain, input, wish);
}

function supersededCopy({ domain, supersededBy }: StepInput): Step | undefined {
  const epoch = domain?.placementEpoch;
  if (epoch === undefined || supersededBy === undefined || epoch >= supersededBy) return undefined;
  return { do: 'surrender', upToEpoch: epoch };
}

/** At or under the floor nothing starts; what stands here is a remainder. What runs needs a person. */
function leftOver(domain: Domain): Step {
  if (!isActive(domain.state)) return { do: 'undefine' };
  return { do: 'held', reason: 'STALE_PLACEMENT', detail: 'a copy is here whose placement epoch was given up' };
}

/**
 * A Finish that libvirtd still had in hand may be executed while Abort gives its copy up, and then that copy is the VM.
 * The right to run it comes back with a placement that is above the floor.
 */
function isWantedAgain(domain: Domain, { wish, notes }: StepInput): boolean {
  if (!isActive(domain.state) || isIncoming(domain)) return false;
  return wish !== undefined && wish.from !== 'memory' && wish.placementEpoch > notes.floor;
}

function notOfThisWish(domain: Domain, wish: Wish): Step | undefined {
  if (domain.placementEpoch === undefined) {
    return { do: 'held', reason: 'DOMAIN_NOT_OURS', detail: 'a domain without placement epoch is here; it can be adopted' };
  }
  if (domain.placementEpoch <= wish.placementEpoch) return undefined;
  const detail = `the copy here has placement epoch ${String(domain.placementEpoch)}, ordered is ${String(wish.placementEpoch)}`;
  return { do: 'held', reason: 'STALE_PLACEMENT', detail };
}

/** The same copy on the same host under a fresh placement epoch: there is no second one. */
function takeOver(domain: Domain, wish: Wish): Step {
  if (isActive(domain.state) || wish.xml === undefined) return { do: 'stamp', placementEpoch: wish.placementEpoch };
  return { do: 'define', xml: wish.xml };
}

function towardsDefined({ history, nowMs }: StepInput, { xml, desired, maxRestart }: Wish): Step {
  if (xml === undefined) return REST;
  const held = desired === VmDesired.RUNNING ? heldBack(history, maxRestart, nowMs) : undefined;
  return held ?? { do: 'define', xml };
}

/** What ended by itself or failed too often is handed back to the Scheduler; before that, it waits between two tries. */
function heldBack({ failures, lastFailure, notBeforeMs }: VmHistory, maxRestart: number, nowMs: number): Step | undefined {
  // One try is the start itself; every further one is a restart.
  if (failures > maxRestart) {
    const often = failures === 1 ? 'once' : `${String(failures)} times`;
    const detail = `it ended by itself or failed to start ${often} here; at last: ${lastFailure}`;
    return { do: 'held', reason: 'RESTARTS_EXHAUSTED', detail };
  }
  return nowMs < notBeforeMs ? { do: 'wait', untilMs: notBeforeMs } : undefined;
}

function towardsRunning(domain: Domain, { history, nowMs, leaving }: StepInput, wish: Wish): Step {
  if (isActive(domain.state)) return lostDefinition(domain, wish, history) ?? changedDefinition(wish, history) ?? REST;
  if (leaving !== 'no') return { do: 'held', reason: 'NODE_LEAVING', detail: 'the host goes down' };
  if (wish.from === 'memory') return { do: 'held', reason: 'NOT_JOINED', detail: 'its record has not been read yet' };
  const held = heldBack(history, wish.maxRestart, nowMs);
  if (held?.do === 'held') return held;
  if (wish.xml !== undefined && history.definedXml !== wish.xml) return { do: 'define', xml: wish.xml };
  if (held !== undefined) return held;
  return { do: 'start', ownAccord: history.wasActive || wish.from !== 'order' };
}

function towardsStopped(domain: Domain, { history, nowMs }: StepInput, wish: Wish): Step {
  if (!isActive(domain.state)) {
    if (wish.xml === undefined || history.definedXml === undefined) return REST;
    return changedDefinition(wish, history) ?? REST;
  }
  if (wish.shutdownLimitMs === 0) return { do: 'destroy' };
  if (history.stopping === undefined) return { do: 'ask-shutdown' };
  const forceAtMs = history.stopping.sinceMs + wish.shutdownLimitMs;
  if (nowMs >= forceAtMs) return { do: 'destroy' };
  const askAtMs = history.stopping.askedMs + ASK_AGAIN_MS;
  return nowMs >= askAtMs ? { do: 'ask-shutdown' } : { do: 'wait', untilMs: Math.min(forceAtMs, askAtMs) };
}

/** A guest that arrived without its definition would be forgotten by the hypervisor when it stops. */
function lostDefinition({ persistent }: Domain, { xml }: Wish, { definedXml }: VmHistory): Step | undefined {
  return !persistent && xml !== undefined && xml !== definedXml ? { do: 'define', xml } : undefined;
}

/** What is defined shall be what was last ordered; a running guest takes it at its next start. */
function changedDefinition({ xml }: Wish, { definedXml }: VmHistory): Step | undefined {
  return xml !== undefined && definedXml !== undefined && xml !== definedXml ? { do: 'define', xml } : undefined;
}
