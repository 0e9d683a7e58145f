// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { LabError } from './errors.js';
import { readIfThere, writeWhole } from './files.js';
import type { HostLayout, Lab } from './layout.js';
import { attempt, until, type Outcome } from './shell.js';
import { end, launch, readRecord, stateOf, type ProcessState } from './supervise.js';

/** How a BMC behaves: as it should; silent, as one without power; or with another password than everybody knows. */
export const bmcModes = ['up', 'dead', 'wrong-password'] as const;
export type BmcMode = (typeof bmcModes)[number];

export interface BmcCredentials {
  address: string;
  port: number;
  username: string;
  password: string;
}

export const ipmiPort = 623;
const username = 'lockstep';

const dirOf = (host: HostLayout) => join(host.dir, 'bmc');
const logFileOf = (host: HostLayout) => join(host.dir, 'log/bmc.log');
const pidFileOf = (host: HostLayout) => join(dirOf(host), 'pid');
const passwordFileOf = (host: HostLayout) => join(dirOf(host), 'password');

/** The password that everybody is told; drawn when it is asked for first. IPMI 1.5 holds 16 characters. */
export function credentialsOf(host: HostLayout): BmcCredentials {
  const known = readIfThere(passwordFileOf(host));
  const password = known ?? randomBytes(8).toString('hex');
  if (known === undefined) writeWhole(passwordFileOf(host), password);
  return { address: host.bmcAddress, port: ipmiPort, username, password };
}

function lanConfiguration(lab: Lab, host: HostLayout, password: string): string {
  const authentications = ['callback', 'user', 'operator', 'admin'].map(
    (level) => `    allowed_auths_${level} none md2 md5 straight`,
  );
  return [
    `name "${host.name}"`,
    'set_working_mc 0x20',
    '  startlan 1',
    `    addr ${host.bmcAddress} ${ipmiPort}`,
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

export function bmcState(host: HostLayout): { mode: BmcMode; process: ProcessState } {
  const mode = readIfThere(join(dirOf(host), 'mode'));
  return {
    mode: bmcModes.find((known) => known === mode) ?? 'up',
    process: stateOf(readRecord(pidFileOf(host))),
  };
}

/** Puts the host's BMC into a mode, and starts, restarts or ends its process as that needs. */
export async function setBmcMode(lab: Lab, host: HostLayout, mode: BmcMode): Promise<void> {
  const before = bmcState(host);
  const wantsProcess = mode !== 'dead';
  if (before.mode === mode && (before.process === 'running') === wantsProcess) return;
  await endBmc(host);
  writeWhole(join(dirOf(host), 'mode'), mode);
  if (wantsProcess) await startBmc(lab, host, mode);
}

async function startBmc(lab: Lab, host: HostLayout, mode: BmcMode): Promise<void> {
  const { password } = credentialsOf(host);
  const actual = mode === 'wrong-password' ? randomBytes(8).toString('hex') : password;
  const [configuration, actualFile] = [join(dirOf(host), 'lan.conf'), join(dirOf(host), 'actual-password')];
  writeWhole(configuration, lanConfiguration(lab, host, actual));
  writeWhole(actualFile, actual);
  writeWhole(join(dirOf(host), 'sim.emu'), emulator);
  mkdirSync(join(dirOf(host), 'state'), { recursive: true });
  const record = await launch({
    argv: ['ipmi_sim', '-c', configuration, '-f', join(dirOf(host), 'sim.emu'), '-n', '-s', join(dirOf(host), 'state')],
    env: {
      LAB_NAMESPACE: host.namespace,
      LAB_HOST: host.name,
      LAB_HOST_DIR: host.dir,
      LAB_BOOT: `${process.execPath} ${join(lab.checkout, 'deploy/dist/lab/main.js')} start`,
      LOCKSTEP_LAB: lab.name,
      LOCKSTEP_LAB_STATE: dirname(lab.stateDir),
    },
    pidFile: pidFileOf(host),
    logFile: logFileOf(host),
  });
  await until(`BMC of ${host.name}`, 10_000, async () => {
    if (stateOf(record) === 'dead') {
      throw new LabError(`the BMC of ${host.name} ended: ${readIfThere(logFileOf(host))?.trim() ?? 'no log'}`);
    }
    const { code, stderr } = await askBmc(host, actualFile, 'status');
    return code === 0 ? undefined : stderr.trim();
  });
}

export async function endBmc(host: HostLayout): Promise<void> {
  // It has nothing to finish.
  await end(readRecord(pidFileOf(host)), 0);
}

/** The real client and the real protocol. The password goes by file, never by argument. */
function askBmc(host: HostLayout, passwordFile: string, action: 'on' | 'off' | 'status'): Promise<Outcome> {
  const target = ['-I', 'lanplus', '-C', '3', '-R', '2', '-N', '1', '-H', host.bmcAddress, '-p', String(ipmiPort)];
  return attempt('ipmitool', [...target, '-U', username, '-f', passwordFile, 'chassis', 'power', action]);
}

/** Asks the host's BMC with the password that everybody knows. Returns its words. */
export async function chassisPower(host: HostLayout, action: 'on' | 'off' | 'status'): Promise<string> {
  const { code, stdout, stderr } = await askBmc(host, passwordFileOf(host), action);
  if (code !== 0) throw new LabError(`the BMC of ${host.name} did not switch: ${stderr.trim()}`);
  return stdout.trim();
}
