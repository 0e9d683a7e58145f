// SPDX-License-Identifier: Apache-2.0
import type { CallLimit } from '../hypervisor/hypervisor.js';

export type PowerState = 'on' | 'off';

/** What the credentials allow, from the least; from `operator` on they may switch the power. */
export const PRIVILEGES = ['none', 'callback', 'user', 'operator', 'administrator'] as const;
export type Privilege = (typeof PRIVILEGES)[number];

/**
 * `unreachable`: nobody answers at its address. `wrong-credentials`: it does not know the user or the password.
 * `no-privilege`: it knows them and refuses. `timeout`: the call's limit passed. `failed`: anything else it said.
 */
export type BmcFailure = 'unreachable' | 'wrong-credentials' | 'no-privilege' | 'timeout' | 'failed';

/** A call to a BMC failed. The message is one line and never holds a secret. */
export class BmcError extends Error {
  override readonly name = 'BmcError';
  constructor(
    readonly kind: BmcFailure,
    message: string,
  ) {
    super(message);
  }
}

/**
 * What switches one host's power whatever the host does. Every call has a limit and is ended hard when that passes.
 * Calls reject with {@link BmcError}, or with Cancelled where the signal aborted.
 */
export interface PowerDevice {
  /** E.g. "ipmi" or "fence_apc". */
  readonly kind: string;
  /** Where it is reached, for people. */
  readonly address: string;
  powerState(call: CallLimit): Promise<PowerState>;
  /** At once, without asking the host. A host that is off already is no error. Only reading it back proves it. */
  powerOff(call: CallLimit): Promise<void>;
  powerOn(call: CallLimit): Promise<void>;
}

/** The management controller of one host: it can also tell whose it is, and what its credentials allow. */
export interface Bmc extends PowerDevice {
  /** The GUID it must have, where that is not its host's UUID; 32 hexadecimal digits in lower case. */
  readonly expectedGuid: string | undefined;
  /** 32 hexadecimal digits in lower case, in the order of the BMC's bytes; undefined: it has none. */
  guid(call: CallLimit): Promise<string | undefined>;
  privilege(call: CallLimit): Promise<Privilege>;
}

/** The BMCs of all nodes, as one host knows them. */
export interface Bmcs {
  /** The first BMC of the node; undefined: none is configured. */
  of(node: string): Bmc | undefined;
  /** All that switches the node's power, in the order in which it is tried. */
  devices(node: string): readonly PowerDevice[];
}

/** Whether a device can tell whose power it switches. */
export function isBmc(device: PowerDevice): device is Bmc {
  return 'guid' in device;
}

/** Devices by node, of which the first BMC is the one that is checked. The map may grow. */
export function devicesOf(nodes: ReadonlyMap<string, readonly PowerDevice[]>): Bmcs {
  return {
    of: (node) => nodes.get(node)?.find(isBmc),
    devices: (node) => nodes.get(node) ?? [],
  };
}

/** Where no BMC is configured. */
export const noBmcs: Bmcs = { of: () => undefined, devices: () => [] };
