// SPDX-License-Identifier: Apache-2.0

/** Chance as the services see it, so that a seed can reproduce a run. */
export interface Random {
  /** Uniform in [0, 1). */
  next(): number;
  /** A time-ordered UUID, version 7. */
  uuid(): string;
}
