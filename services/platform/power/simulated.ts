// SPDX-License-Identifier: Apache-2.0
import { DeadlineExceeded, withDeadline, type Clock } from '../clock/clock.js';
import type { CallLimit } from '../hypervisor/hypervisor.js';
import { BmcError, type Bmc, type Bmcs, type PowerState, type Privilege } from './power.js';

/** How a simulated BMC behaves: as it should, not at all, with another password, without an answer, or taking orders and doing nothing. */
export type SimulatedBmcMode = 'up' | 'dead' | 'wrong-password' | 'hung' | 'accepts-only';

/** A BMC that a test can look into and change. */
export interface SimulatedBmc extends Bmc {
  mode: SimulatedBmcMode;
  power: PowerState;
  ownGuid: string | undefined;
  ownPrivilege: Privilege;
}

export interface SimulatedBmcOptions {
  clock: Clock;
  name: string;
  /** The host's UUID. */
  guid: string;
  /** Told when the power was switched, before the call returns. */
  onPower?: (state: PowerState) => void;
}

/** The BMC of a simulated host; the host is on. */
export function createSimulatedBmc({ clock, name, guid, onPower = () => undefined }: SimulatedBmcOptions): SimulatedBmc {
  const address = `${name}/bmc`;
  const answered = async <T>({ deadlineMs, signal }: CallLimit, answer: () => T): Promise<T> => {
    const what = `the BMC at ${address}`;
    await Promise.resolve();
    switch (bmc.mode) {
      case 'up':
      case 'accepts-only':
        return answer();
      case 'dead':
        throw new BmcError('unreachable', `${what} does not answer`);
      case 'wrong-password':
        throw new BmcError('wrong-credentials', `${what} does not accept user and password`);
      case 'hung':
        return await withDeadline(clock, { what, limitMs: deadlineMs, signal }, () => new Promise<T>(() => undefined)).catch(
          (error: unknown) => {
            throw error instanceof DeadlineExceeded ? new BmcError('timeout', error.message) : error;
          },
        );
    }
  };
  const maySwitch = (): void => {
    if (bmc.ownPrivilege === 'operator' || bmc.ownPrivilege === 'administrator') return;
    throw new BmcError('no-privilege', `the BMC at ${address} refuses the user: its privilege is too low`);
  };
  const switchTo = (state: PowerState) => (call: CallLimit) =>
    answered(call, () => {
      maySwitch();
      if (bmc.mode === 'accepts-only') return;
      bmc.power = state;
      onPower(state);
    });
  const bmc: SimulatedBmc = {
    mode: 'up',
    power: 'on',
    ownGuid: guid.replaceAll('-', ''),
    ownPrivilege: 'administrator',
    kind: 'simulated',
    address,
    expectedGuid: undefined,
    powerState: (call) => answered(call, () => bmc.power),
    powerOff: switchTo('off'),
    powerOn: switchTo('on'),
    guid: (call) => answered(call, () => bmc.ownGuid),
    privilege: (call) => answered(call, () => bmc.ownPrivilege),
  };
  return bmc;
}

/** What every simulated host knows of the others' BMCs: the map may grow. */
export function bmcsOf(bmcs: ReadonlyMap<string, Bmc>): Bmcs {
  return {
    of: (node) => bmcs.get(node),
    devices: (node) => {
      const bmc = bmcs.get(node);
      return bmc === undefined ? [] : [bmc];
    },
  };
}
