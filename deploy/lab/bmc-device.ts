// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { BmcMode } from './bmc-modes.js';
import { LabError } from './errors.js';
import { readIfThere, writeWhole } from './files.js';
import type { HostLayout, Lab } from './layout.js';
import { attempt, until, type Outcome } from './shell.js';
import { end, launch, readRecord, stateOf, type ProcessState } from './supervise.js';

export interface BmcCredentials {
  address: string;
  port: number;
  username: string;
  password: string;
}

export type DeviceName = 'bmc' | 'bmc2';

export const ipmiPort = 623;
/** Where the simulator listens while a relay in front of it loses packets. */
const behindRelayPort = 1_623;
const username = 'lockstep';

/** One of a host's two power devices: both switch the same power, and only the first one runs unless told. */
export interface BmcDevice {
  host: HostLayout;
  name: DeviceName;
  address: string;
  dir: string;
}

export function deviceOf(host: HostLayout, name: DeviceName): BmcDevice {
  const address = name === 'bmc' ? host.bmcAddress : host.secondBmcAddress;
  return { host, name, address, dir: join(host.dir, name) };
}

const logFileOf = ({ host, name }: BmcDevice) => join(host.dir, 'log', `${name}.log`);
const pidFileOf = ({ dir }: BmcDevice) => join(dir, 'pid');
const relayPidFileOf = ({ dir }: BmcDevice) => join(dir, 'relay-pid');
const passwordFileOf = ({ dir }: BmcDevice) => join(dir, 'password');

export const deviceState = (device: BmcDevice): ProcessState => stateOf(readRecord(pidFileOf(device)));

/** The password that everybody is told; drawn when it is asked for first. IPMI 1.5 holds 16 characters. */
export function credentialsOf(host: HostLayout, name: DeviceName = 'bmc'): BmcCredentials {
  const device = deviceOf(host, name);
  const known = readIfThere(passwordFileOf(device));
  const password = known ?? randomBytes(8).toString('hex');
  if (known === undefined) writeWhole(passwordFileOf(device), password);
  return { address: device.address, port: ipmiPort, username, password };
}

function lanConfiguration(lab: Lab, { host, address }: BmcDevice, port: number, password: string): string {
  const authentications = ['callback', 'user', 'operator', 'admin'].map(
    (level) => `    allowed_auths_${level} none md2 md5 straight`,
  );
  return [
    `name "${host.name}"`,
    'set_working_mc 0x20',
    '  startlan 1',
    `    addr ${address} ${port}`,
    '    priv_limit admin',
    ...authentications,
    `    guid ${host.uuid.replaceAll('-', '')}`,
    '  endlan',
    `  chassis_control "${join(lab.checkout, 'deploy/lab/chassis.sh')}"`,
    `  user 2 true "${username}" "${password}" admin 10 none md2 md5 straight`,
    '',
  ].join('\n');
}

const emulator = [
  'mc_setbmc 0x20',
  'mc_add 0x20 0 no-device-sdrs 0x23 9 8 0x9f 0x1291 0xf02 persist_sdr',
  'sel_enable 0x20 1000 0x0a',
  'mc_enable 0x20',
  '',
].join('\n');

/** What chassis.sh and watchdog.sh are told of the host. */
export function chassisEnvironment(lab: Lab, host: HostLayout): Record<string, string> {
  return {
    LAB_NAMESPACE: host.namespace,
    LAB_HOST: host.name,
    LAB_HOST_DIR: host.dir,
    LAB_BOOT: `${process.execPath} ${join(lab.checkout, 'deploy/dist/lab/main.js')} start`,
    LOCKSTEP_LAB: lab.name,
    LOCKSTEP_LAB_STATE: dirname(lab.stateDir),
  };
}

/** Starts the device, and returns once it answers as its mode lets it. */
export async function startDevice(lab: Lab, device: BmcDevice, mode: BmcMode): Promise<void> {
  const { dir, host } = device;
  const { password } = credentialsOf(host, device.name);
  const actual = mode === 'wrong-password' ? randomBytes(8).toString('hex') : password;
  const port = mode === 'drops' ? behindRelayPort : ipmiPort;
  const [configuration, actualFile] = [join(dir, 'lan.conf'), join(dir, 'actual-password')];
  writeWhole(configuration, lanConfiguration(lab, device, port, actual));
  writeWhole(actualFile, actual);
  writeWhole(join(dir, 'sim.emu'), emulator);
  mkdirSync(join(dir, 'state'), { recursive: true });
  const record = await launch({
    argv: ['ipmi_sim', '-c', configuration, '-f', join(dir, 'sim.emu'), '-n', '-s', join(dir, 'state')],
    env: { ...chassisEnvironment(lab, host), LAB_BMC_MODE: mode, LAB_BMC_DIR: dir },
    pidFile: pidFileOf(device),
    logFile: logFileOf(device),
  });
  await until(`${device.name} of ${host.name}`, 10_000, async () => {
    if (stateOf(record) === 'dead') {
      throw new LabError(`the BMC of ${host.name} ended: ${readIfThere(logFileOf(device))?.trim() ?? 'no log'}`);
    }
    const { code, stderr } = await ask(device, port, actualFile, 'status');
    return code === 0 ? undefined : stderr.trim();
  });
  if (mode === 'drops') await startRelay(lab, device);
}

async function startRelay(lab: Lab, device: BmcDevice): Promise<void> {
  const argv = [process.execPath, join(lab.checkout, 'deploy/dist/lab/bmc-relay.js')];
  await launch({
    argv: [...argv, device.address, String(ipmiPort), String(behindRelayPort)],
    pidFile: relayPidFileOf(device),
    logFile: logFileOf(device),
  });
}

/** Ends it as a power cut does: it has nothing to finish. */
export async function endDevice(device: BmcDevice): Promise<void> {
  await end(readRecord(relayPidFileOf(device)), 0);
  await end(readRecord(pidFileOf(device)), 0);
}

type Action = 'on' | 'off' | 'status';

/** The real client and the real protocol. The password goes by file, never by argument. */
function ask(device: BmcDevice, port: number, passwordFile: string, action: Action): Promise<Outcome> {
  const target = ['-I', 'lanplus', '-C', '3', '-R', '2', '-N', '1', '-H', device.address, '-p', String(port)];
  return attempt('ipmitool', [...target, '-U', username, '-f', passwordFile, 'chassis', 'power', action]);
}

/** Asks one of the host's devices with the password that everybody knows. Returns its words. */
export async function chassisPower(host: HostLayout, action: Action, name: DeviceName = 'bmc'): Promise<string> {
  const device = deviceOf(host, name);
  const { code, stdout, stderr } = await ask(device, ipmiPort, passwordFileOf(device), action);
  if (code !== 0) throw new LabError(`the BMC of ${host.name} did not switch: ${stderr.trim()}`);
  return stdout.trim();
}
