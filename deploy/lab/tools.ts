// SPDX-License-Identifier: Apache-2.0
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { LabError } from './errors.js';
import type { Lab } from './layout.js';
import { run } from './shell.js';

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

/** What a storage cluster needs besides. */
const cephPrograms = {
  'ceph-mon': 'ceph-mon',
  'ceph-osd': 'ceph-osd',
  'ceph-mgr': 'ceph-mgr',
  monmaptool: 'ceph-base',
  ceph: 'ceph-common',
  rbd: 'ceph-common',
} as const;
const INSTALLATION_LIMIT_MS = 600_000;

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

function missingOf(wanted: Readonly<Record<string, string>>, env: NodeJS.ProcessEnv): string[] {
  const missing = Object.entries(wanted).filter(([program]) => onPath(program, env) === undefined);
  return missing.map(([program, packageName]) => `${program} (package ${packageName})`);
}

/** Has the set-up install what a storage cluster needs, where it is missing: only who wants one waits for it. */
export async function ensureCephTools(lab: Lab, report: (line: string) => void, env: NodeJS.ProcessEnv = process.env): Promise<void> {
  const missing = missingOf(cephPrograms, env);
  if (missing.length === 0) return;
  report(`installing what is missing of Ceph: ${missing.join(', ')}`);
  await run('sh', [join(lab.checkout, 'deploy/setup/setup.sh'), '--only-ceph'], { env, timeoutMs: INSTALLATION_LIMIT_MS });
  const left = missingOf(cephPrograms, env);
  if (left.length > 0) throw new LabError(`missing: ${left.join(', ')}`, 'is a Debian mirror reachable?');
}

/** Throws, naming everything that is missing, unless this machine can run the lab. */
export function requireTools(env: NodeJS.ProcessEnv = process.env): void {
  if (process.getuid?.() !== 0) throw new LabError('the lab makes network namespaces and needs root');
  const names = missingOf(programs, env);
  if (findConsul(env) === undefined) names.push('consul');
  if (names.length > 0) throw new LabError(`missing: ${names.join(', ')}`, 'sh deploy/setup/setup.sh installs them');
}
