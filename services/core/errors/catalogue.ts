// SPDX-License-Identifier: Apache-2.0

/** gRPC's status codes by name, as far as the catalogue uses them. */
export type StatusName =
  | 'INVALID_ARGUMENT'
  | 'NOT_FOUND'
  | 'ALREADY_EXISTS'
  | 'FAILED_PRECONDITION'
  | 'PERMISSION_DENIED'
  | 'UNAVAILABLE'
  | 'DEADLINE_EXCEEDED'
  | 'ABORTED'
  | 'RESOURCE_EXHAUSTED'
  | 'UNIMPLEMENTED'
  | 'INTERNAL';

interface CatalogueEntry {
  status: StatusName;
  /** The next command to run; words in braces are filled from the error's metadata. Empty: nothing helps but reading. */
  hint: string;
}

/**
 * Every reason the system gives for an error or a refusal, once. Reasons travel in google.rpc.ErrorInfo, in a
 * migration's `reason` and in a vote's refusals; they are part of the API and never renamed.
 */
export const CATALOGUE = {
  // What was asked for is wrong in itself.
  INVALID_FIELD: { status: 'INVALID_ARGUMENT', hint: '' },
  INVALID_DOMAIN_XML: { status: 'INVALID_ARGUMENT', hint: 'virt-xml-validate FILE domain' },
  DOMAIN_XML_TOO_LARGE: { status: 'INVALID_ARGUMENT', hint: '' },
  PAGE_TOKEN_INVALID: { status: 'INVALID_ARGUMENT', hint: '' },

  // It names something that is not there, or that is there already.
  VM_NOT_FOUND: { status: 'NOT_FOUND', hint: 'lockstep vm list' },
  NODE_NOT_FOUND: { status: 'NOT_FOUND', hint: 'lockstep node list' },
  MIGRATION_NOT_FOUND: { status: 'NOT_FOUND', hint: 'lockstep migration list' },
  DRAIN_NOT_FOUND: { status: 'NOT_FOUND', hint: 'lockstep drain list' },
  NETWORK_NOT_FOUND: { status: 'NOT_FOUND', hint: 'lockstep network list' },
  NETWORK_NAME_TAKEN: { status: 'ALREADY_EXISTS', hint: 'lockstep network show {network}' },
  FENCE_ACTION_NOT_FOUND: { status: 'NOT_FOUND', hint: 'lockstep fence list' },
  VM_NAME_TAKEN: { status: 'ALREADY_EXISTS', hint: 'lockstep vm show {vm}' },
  VM_ID_TAKEN: { status: 'ALREADY_EXISTS', hint: 'lockstep vm show {vm}' },

  // It cannot be done now.
  SAME_NODE: { status: 'FAILED_PRECONDITION', hint: 'lockstep vm show {vm}' },
  VM_LOCKED: { status: 'FAILED_PRECONDITION', hint: 'lockstep migration show {migration}' },
  VM_RUNNING: { status: 'FAILED_PRECONDITION', hint: 'lockstep vm stop {vm} --wait' },
  VM_NOT_RUNNING: { status: 'FAILED_PRECONDITION', hint: 'lockstep vm start {vm} --wait' },
  NODE_NOT_READY: { status: 'FAILED_PRECONDITION', hint: 'lockstep node show {node}' },
  NODE_LIMIT: { status: 'FAILED_PRECONDITION', hint: 'lockstep vm show {vm}' },
  NO_FIT: { status: 'FAILED_PRECONDITION', hint: 'lockstep node show {node}' },
  NO_TARGET: { status: 'FAILED_PRECONDITION', hint: 'lockstep node list' },
  DRAIN_ENDED: { status: 'FAILED_PRECONDITION', hint: 'lockstep drain show {drain}' },
  NODE_DRAINING: { status: 'FAILED_PRECONDITION', hint: 'lockstep drain show {drain}' },
  NOT_FENCED: { status: 'FAILED_PRECONDITION', hint: 'lockstep node show {node}' },
  BRIDGE_MISSING: { status: 'FAILED_PRECONDITION', hint: 'lockstep network list' },
  NETWORK_IN_USE: { status: 'FAILED_PRECONDITION', hint: 'lockstep vm list' },
  NO_CONSOLE: { status: 'FAILED_PRECONDITION', hint: 'lockstep vm show {vm}' },
  MIGRATION_ENDED: { status: 'FAILED_PRECONDITION', hint: 'lockstep migration show {migration}' },
  PAST_POINT_OF_NO_RETURN: { status: 'FAILED_PRECONDITION', hint: 'lockstep migration watch {migration}' },
  ETAG_MISMATCH: { status: 'ABORTED', hint: 'lockstep vm show {vm}' },
  NOT_TRANSFERRING: { status: 'FAILED_PRECONDITION', hint: 'lockstep migration show {migration}' },
  POST_COPY_NOT_ALLOWED: { status: 'FAILED_PRECONDITION', hint: 'lockstep vm show {vm}' },
  NOT_UNCERTAIN: { status: 'FAILED_PRECONDITION', hint: 'lockstep migration show {migration}' },
  FACTS_CONTRADICT: { status: 'FAILED_PRECONDITION', hint: 'lockstep migration show {migration}' },
  QUEUE_FULL: { status: 'RESOURCE_EXHAUSTED', hint: 'lockstep migration list' },

  // Fencing.
  FENCER_DISARMED: { status: 'FAILED_PRECONDITION', hint: 'lockstep fence arm' },
  FENCE_ACTION_OPEN: { status: 'FAILED_PRECONDITION', hint: 'lockstep fence show {fence_action}' },
  FENCE_TEST_OPEN: { status: 'FAILED_PRECONDITION', hint: 'lockstep fence evidence {node}' },
  NODE_NOT_EMPTY: { status: 'FAILED_PRECONDITION', hint: 'lockstep node drain {node}' },
  FENCE_ACTION_NOT_HELD: { status: 'FAILED_PRECONDITION', hint: 'lockstep fence show {fence_action}' },
  NODE_ALIVE: { status: 'FAILED_PRECONDITION', hint: 'lockstep fence evidence {node}' },
  NOT_FENCEABLE: { status: 'FAILED_PRECONDITION', hint: 'lockstep fence evidence {node}' },
  JUDGED_DEAD: { status: 'FAILED_PRECONDITION', hint: 'lockstep fence evidence {node}' },
  FENCE_REQUESTED: { status: 'FAILED_PRECONDITION', hint: 'lockstep fence list' },
  WAITS_ITS_TURN: { status: 'UNAVAILABLE', hint: 'lockstep fence list' },
  TOO_MANY_DEAD: { status: 'FAILED_PRECONDITION', hint: 'lockstep fence release {fence_action} --reason WHY' },
  PROOF_MISSING: { status: 'UNAVAILABLE', hint: 'lockstep fence ack {node} --reason WHY' },
  PROVEN_OFF: { status: 'ABORTED', hint: '' },
  SIGNS_OF_LIFE: { status: 'ABORTED', hint: 'lockstep fence evidence {node}' },
  JOINED_AGAIN: { status: 'ABORTED', hint: 'lockstep node show {node}' },

  // A dead host's storage locks.
  STORAGE_LOCKED: { status: 'FAILED_PRECONDITION', hint: 'rbd lock ls {image}' },
  STORAGE_UNAVAILABLE: { status: 'UNAVAILABLE', hint: 'ceph status' },

  // Agents to leaders.
  STALE_EPOCH: { status: 'FAILED_PRECONDITION', hint: '' },
  STALE_ORDER: { status: 'FAILED_PRECONDITION', hint: '' },
  STALE_PLACEMENT: { status: 'FAILED_PRECONDITION', hint: '' },
  WRONG_INCARNATION: { status: 'FAILED_PRECONDITION', hint: '' },
  DOMAIN_NOT_FOUND: { status: 'NOT_FOUND', hint: '' },
  DOMAIN_NOT_OURS: { status: 'FAILED_PRECONDITION', hint: 'lockstep vm list' },
  PREPARATION_GONE: { status: 'FAILED_PRECONDITION', hint: '' },
  TRANSFER_NOT_STARTED: { status: 'FAILED_PRECONDITION', hint: '' },
  TRANSFER_FAILED: { status: 'FAILED_PRECONDITION', hint: 'lockstep migration show {migration}' },
  HYPERVISOR_DOWN: { status: 'UNAVAILABLE', hint: 'systemctl status libvirtd' },
  HYPERVISOR_REFUSED: { status: 'FAILED_PRECONDITION', hint: '' },
  HYPERVISOR_FAILED: { status: 'INTERNAL', hint: '' },
  NOT_JOINED: { status: 'UNAVAILABLE', hint: 'lockstep node list' },

  // Ends of migrations.
  CANCELLED: { status: 'ABORTED', hint: '' },
  NOT_CONVERGED: { status: 'FAILED_PRECONDITION', hint: '' },
  LOST_CONTACT: { status: 'UNAVAILABLE', hint: 'lockstep node list' },
  FACTS_MISSING: { status: 'UNAVAILABLE', hint: 'lockstep node list' },
  RESTARTED_COLD: { status: 'ABORTED', hint: '' },
  HOST_OFF: { status: 'FAILED_PRECONDITION', hint: 'lockstep node show {node}' },
  RESTARTS_EXHAUSTED: { status: 'ABORTED', hint: 'lockstep vm start {vm}' },
  RELOCATIONS_EXHAUSTED: { status: 'ABORTED', hint: 'lockstep vm start {vm}' },
  NODE_LEAVING: { status: 'FAILED_PRECONDITION', hint: 'lockstep node show {node}' },
  GUEST_LOST: { status: 'ABORTED', hint: 'lockstep vm show {vm}' },
  TWO_COPIES: { status: 'INTERNAL', hint: 'lockstep migration show {migration}' },

  // The system itself.
  NO_LEADER: { status: 'UNAVAILABLE', hint: 'lockstep cluster status' },
  NOT_LEADER: { status: 'UNAVAILABLE', hint: 'lockstep cluster status' },
  STOPPING: { status: 'UNAVAILABLE', hint: 'lockstep cluster status' },
  STORE_UNAVAILABLE: { status: 'UNAVAILABLE', hint: 'consul operator raft list-peers' },
  STORE_DENIED: { status: 'PERMISSION_DENIED', hint: '' },
  STORE_CONFLICT: { status: 'ABORTED', hint: '' },
  OUTCOME_UNKNOWN: { status: 'UNAVAILABLE', hint: '' },
  NODE_UNREACHABLE: { status: 'UNAVAILABLE', hint: 'lockstep node show {node}' },
  DEADLINE: { status: 'DEADLINE_EXCEEDED', hint: '' },
  NOT_ALLOWED: { status: 'PERMISSION_DENIED', hint: '' },
  RESUME_TOKEN_EXPIRED: { status: 'FAILED_PRECONDITION', hint: '' },
  NOT_IMPLEMENTED: { status: 'UNIMPLEMENTED', hint: '' },
  INTERNAL: { status: 'INTERNAL', hint: '' },
} as const satisfies Record<string, CatalogueEntry>;

export type Reason = keyof typeof CATALOGUE;

export function isReason(text: string): text is Reason {
  return Object.hasOwn(CATALOGUE, text);
}

/**
 * What goes along with an error: the `field` that was wrong, what was `got` and `want`ed, the `vm`, `node` or
 * `migration` it is about. Never a secret.
 */
export type ErrorMetadata = Readonly<Record<string, string>>;

/** An error with a reason of the catalogue: the only kind that crosses an API. The message is a sentence for people. */
export class LockstepError extends Error {
  override readonly name = 'LockstepError';
  constructor(
    readonly reason: Reason,
    message: string,
    readonly metadata: ErrorMetadata = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }
}

/** Bad input: which field, what was wrong, what would be right. */
export function invalidField(field: string, got: string, want: string): LockstepError {
  return new LockstepError('INVALID_FIELD', `${field}: got ${got}, want ${want}`, { field, got, want });
}

/** The next command to run, filled from the metadata; empty where the catalogue has none or a word is missing. */
export function hintFor(reason: Reason, metadata: ErrorMetadata): string {
  const filled = CATALOGUE[reason].hint.replace(/\{(\w+)\}/g, (word, key: string) => metadata[key] ?? word);
  return filled.includes('{') ? '' : filled;
}
