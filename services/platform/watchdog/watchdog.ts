// SPDX-License-Identifier: Apache-2.0

/** A watchdog that counts: the host is reset unless it is fed within its time. */
export interface ArmedWatchdog {
  feed(): Promise<void>;
  /** Ends it in order: it counts no more. */
  disarm(): Promise<void>;
}

/** What resets a host that feeds it no more. */
export interface Watchdog {
  /** For people. */
  readonly path: string;
  /** How long it takes, as the device says; undefined: it does not say. */
  timeoutMs(): Promise<number | undefined>;
  /** From here on it counts. Rejects where there is none, or somebody else has it. */
  arm(): Promise<ArmedWatchdog>;
}
