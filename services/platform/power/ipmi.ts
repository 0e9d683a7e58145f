// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../clock/clock.js';
import type { CallLimit } from '../hypervisor/hypervisor.js';
import { createIpmitool, type IpmitoolTarget } from './ipmitool.js';
import { BmcError, PRIVILEGES, type Bmc } from './power.js';

/** How one BMC is reached over IPMI 2.0. */
export interface IpmiTarget extends IpmitoolTarget {
  expectedGuid?: string | undefined;
}

/** Requests as the specification numbers them: network function, command, data. */
const GET_CHASSIS_STATUS = [0x00, 0x01];
const CHASSIS_POWER_DOWN = [0x00, 0x02, 0x00];
const CHASSIS_POWER_UP = [0x00, 0x02, 0x01];
const GET_SYSTEM_GUID = [0x06, 0x37];
/** Level 0 changes nothing and returns the present one. */
const GET_SESSION_PRIVILEGE = [0x06, 0x3b, 0x00];

/** Completion codes. */
const INVALID_COMMAND = 0xc1;
const NOT_IN_THIS_STATE = 0xd5;

const POWER_IS_ON = 0x01;
const PRIVILEGE_BITS = 0x0f;
const GUID_BYTES = 16;

/**
 * A real BMC, by Debian's `ipmitool`. Requests are sent as bytes and answers read as bytes: what ipmitool says in words
 * differs between its releases.
 */
export function createIpmiBmc(target: IpmiTarget, clock: Clock): Bmc {
  const address = `${target.address}:${String(target.port)}`;
  const request = createIpmitool(target, clock);

  const byteOf = async (bytes: readonly number[], call: CallLimit): Promise<number> => {
    const { code, data } = await request(bytes, call);
    const [first] = data;
    if (code !== 0 || first === undefined) throw refused(address, code);
    return first;
  };
  const switchPower = async (bytes: readonly number[], call: CallLimit): Promise<void> => {
    const { code } = await request(bytes, call);
    if (code !== 0 && code !== NOT_IN_THIS_STATE) throw refused(address, code);
  };

  return {
    kind: 'ipmi',
    address,
    expectedGuid: target.expectedGuid,
    powerState: async (call) => (((await byteOf(GET_CHASSIS_STATUS, call)) & POWER_IS_ON) === 0 ? 'off' : 'on'),
    powerOff: (call) => switchPower(CHASSIS_POWER_DOWN, call),
    powerOn: (call) => switchPower(CHASSIS_POWER_UP, call),
    guid: async (call) => {
      const { code, data } = await request(GET_SYSTEM_GUID, call);
      if (code === INVALID_COMMAND) return undefined;
      if (code !== 0 || data.length !== GUID_BYTES) throw refused(address, code);
      if (data.every((byte) => byte === 0) || data.every((byte) => byte === 0xff)) return undefined;
      return data.map((byte) => byte.toString(16).padStart(2, '0')).join('');
    },
    privilege: async (call) => PRIVILEGES[(await byteOf(GET_SESSION_PRIVILEGE, call)) & PRIVILEGE_BITS] ?? 'none',
  };
}

function refused(address: string, code: number): BmcError {
  const said = code === 0 ? 'an answer that is too short' : `completion code 0x${code.toString(16)}`;
  return new BmcError('failed', `the BMC at ${address} refused the request: ${said}`);
}
