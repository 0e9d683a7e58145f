// SPDX-License-Identifier: Apache-2.0

/** Who asked for a move, by how urgent it is: larger goes first. Numbers apart, so that others fit between. */
export const MIGRATION_PRIORITY = {
  /** Nobody waits for it. */
  REBALANCE: -100,
  USER: 0,
  /** A node is to be emptied, or a VM has lost its node. */
  DRAIN: 100,
} as const;
