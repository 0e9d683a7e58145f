// SPDX-License-Identifier: Apache-2.0

/** What the guest has shown to the outside so far. */
export interface CounterReading {
  /** The last value it counted. */
  value: number;
  /** How far each host's own record of it goes, for people. */
  perHost: string[];
  /** What breaks the count, if something does: a value missing, repeated, or counted on two hosts. */
  broken: string | undefined;
}

/** Where the story takes place: real parts or embedded ones. It looks at guests from outside, never through our API. */
export interface Stage {
  servers: readonly string[];
  /** Nodes by name; the guest moves from the first to the second. */
  nodes: readonly [string, string, ...string[]];
  /** The definition of a guest that counts. */
  guestXml(name: string): Promise<string>;
  counter(name: string): CounterReading;
  /** For each node: what the hypervisor itself says of this guest there. */
  domains(name: string): Promise<{ node: string; state: string; here: boolean }[]>;
  /** What to run to look around, where the stage stays. */
  keepHint: string;
  close(): Promise<void>;
}
