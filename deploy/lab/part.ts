// SPDX-License-Identifier: Apache-2.0
import type { HostLayout, Lab } from './layout.js';

/** A program that runs on every host for as long as the host does. */
export interface Part {
  name: string;
  /** Writes what the program reads at its start. */
  prepare: (lab: Lab, host: HostLayout) => void;
  argv: (lab: Lab, host: HostLayout) => string[];
  /** Variables of its environment beside those of the lab itself. */
  env?: (lab: Lab) => Record<string, string>;
  /** How long it may take until it is ready. */
  readyLimitMs: number;
  /** What is still missing until the program does its work; undefined when nothing is. */
  missing: (lab: Lab, host: HostLayout) => Promise<string | undefined>;
  /** How long it may take to end when it is asked to. */
  graceMs: number;
}
