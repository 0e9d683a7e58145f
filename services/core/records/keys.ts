// SPDX-License-Identifier: Apache-2.0

const ROOT = 'lockstep/v1/';

/** The name of the network that a node's address belongs to, where the node does not say. */
export const MAIN_NETWORK = 'main';

/** Where each record lies in the store. A prefix ends in a slash and lists all records of its kind. */
export const keys = {
  nodes: `${ROOT}nodes/`,
  node: (name: string) => `${ROOT}nodes/${name}`,
  vms: `${ROOT}vms/`,
  vm: (uuid: string) => `${ROOT}vms/${uuid}`,
  /** Holds the UUID: makes names unique. */
  vmName: (name: string) => `${ROOT}vm-names/${name}`,
  /** Holds the last placement epoch of a VM that was undefined: defined again, it goes on above it. */
  vmEpoch: (uuid: string) => `${ROOT}vm-epochs/${uuid}`,
  vmEpochs: `${ROOT}vm-epochs/`,
  migrations: `${ROOT}migrations/`,
  migration: (id: string) => `${ROOT}migrations/${id}`,
  networks: `${ROOT}networks/`,
  network: (name: string) => `${ROOT}networks/${name}`,
  /** Holds what an earlier request with this ID created, so that a repeated one finds it. */
  request: (requestId: string) => `${ROOT}requests/${requestId}`,
  requests: `${ROOT}requests/`,
  drains: `${ROOT}drains/`,
  drain: (id: string) => `${ROOT}drains/${id}`,
  events: `${ROOT}events/`,
  event: (id: string) => `${ROOT}events/${id}`,
  /** Holds the store's index up to which the history of a kind was pruned: what was before can be missed. */
  prunedAll: `${ROOT}pruned/`,
  pruned: (kind: string) => `${ROOT}pruned/${kind}`,
  fenceActions: `${ROOT}fence-actions/`,
  fenceAction: (id: string) => `${ROOT}fence-actions/${id}`,
  /** The last test of each node's ladder. */
  fenceDrills: `${ROOT}fence-drills/`,
  fenceDrill: (node: string) => `${ROOT}fence-drills/${node}`,
  /** Whether the Fencer may act: written by its leader alone. */
  arming: `${ROOT}arming`,
  options: `${ROOT}options`,
  leader: (role: 'scheduler' | 'fencer') => `${ROOT}leaders/${role}`,
  /** Held by the agent's session while it lives. */
  alive: (node: string) => `${ROOT}alive/${node}`,
  aliveNodes: `${ROOT}alive/`,
} as const;

/** The last part of a key: a record's own name. */
export function nameOf(key: string): string {
  return key.slice(key.lastIndexOf('/') + 1);
}
