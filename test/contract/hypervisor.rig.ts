// SPDX-License-Identifier: Apache-2.0
import type { Hypervisor } from '../../services/platform/hypervisor/hypervisor.js';

/** A guest that counts; a `dirty` one has 4 MiB besides that it writes to twice a second, a `writer` a disk of its own. */
export interface TestGuest {
  name: string;
  uuid: string;
  kind: 'counter' | 'dirty' | 'writer';
}

export interface TestHost {
  readonly name: string;
  /** The hypervisor for one more life of an agent. */
  connect(): Hypervisor;
  /** The user of a guest pauses it, behind the agent's back. */
  pause(guest: TestGuest): Promise<void>;
  /** The user of a guest has it start by itself when its host boots. */
  setAutostart(guest: TestGuest): Promise<void>;
  autostarts(guest: TestGuest): Promise<boolean>;
  /** Stops the guest's whole process, and lets it go on. */
  freeze(guest: TestGuest): Promise<void>;
  thaw(guest: TestGuest): Promise<void>;
  killDaemon(): Promise<void>;
  startDaemon(): Promise<void>;
  hangDaemon(): Promise<void>;
  continueDaemon(): Promise<void>;
}

/** What a guest has counted so far over all hosts; `fault` tells of memory that was lost, old, or ran twice. */
export interface Count {
  last: number;
  fault: string | undefined;
}

/** Two hosts that can send guests to each other. */
export interface TestRig {
  readonly source: TestHost;
  readonly target: TestHost;
  /** A definition that either host can run. */
  xmlOf(guest: TestGuest): Promise<string>;
  countOf(guest: TestGuest): Count;
  dispose(): Promise<void>;
}
