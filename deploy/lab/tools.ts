// SPDX-License-Identifier: Apache-2.0
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { LabError } from './errors.js';

/** The programs that the lab calls, with the Debian package that has each. */
const programs = {
  ip: 'iproute2',
  tc: 'iproute2',
  nsenter: 'util-linux',
  unshare: 'util-linux',
  libvirtd: 'libvirt-daemon-system',
  virsh: 'libvirt-clients',
  'qemu-system-x86_64': 'qemu-system-x86',
  ipmi_sim: 'openipmi',
  ipmitool: 'ipmitool',
  as: 'binutils',
  ld: 'binutils',
} as const;

function isExecutable(file: string): boolean {
  try {
    accessSync(file, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function onPath(program: string, env: NodeJS.ProcessEnv): string | undefined {
  const folders = [...(env['PATH'] ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  return folders.map((folder) => join(folder, program)).find(isExecutable);
}

/** Where the Consul binary is: on the PATH, else where the set-up unpacks it; undefined if there is none. */
export function findConsul(env: NodeJS.ProcessEnv = process.env): string | undefined {
  const unpacked = join(env['LOCKSTEP_CACHE'] ?? '/var/cache/lockstep', 'consul/usr/bin/consul');
  return onPath('consul', env) ?? (isExecutable(unpacked) ? unpacked : undefined);
}

/** Throws, naming everything that is missing, unless this machine can run the lab. */
export function requireTools(env: NodeJS.ProcessEnv = process.env): void {
  if (process.getuid?.() !== 0) throw new LabError('the lab makes network namespaces and needs root');
  const missing = Object.entries(programs).filter(([program]) => onPath(program, env) === undefined);
  const names = missing.map(([program, packageName]) => `${program} (package ${packageName})`);
  if (findConsul(env) === undefined) names.push('consul');
  if (names.length > 0) throw new LabError(`missing: ${names.join(', ')}`, 'sh deploy/setup/setup.sh installs them');
}
