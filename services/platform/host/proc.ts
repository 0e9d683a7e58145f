// SPDX-License-Identifier: Apache-2.0
import { readdir, readFile } from 'node:fs/promises';
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import type { HugepagePool } from '../../core/placement/hugepages.js';
import type { Clock } from '../clock/clock.js';
import type { Host, HostMemory } from './host.js';
import { createCephCommand } from './ceph-command.js';
import { systemConsoles } from './consoles.js';
import { createIpLinks } from './ip-links.js';
import { createRbdCommand } from './rbd-command.js';

/** One line of /proc/meminfo, which counts in KiB. */
function meminfoBytes(text: string, name: string): bigint {
  const kib = new RegExp(`^${name}:\\s+(\\d+) kB$`, 'm').exec(text)?.[1];
  if (kib === undefined) throw new Error(`/proc/meminfo: no ${name}`);
  return BigInt(kib) * 1024n;
}

/** What /proc/meminfo says, in bytes. */
export function parseMeminfo(text: string): Omit<HostMemory, 'hugepagePools'> {
  return {
    totalBytes: meminfoBytes(text, 'MemTotal'),
    freeBytes: meminfoBytes(text, 'MemFree'),
    availableBytes: meminfoBytes(text, 'MemAvailable'),
  };
}

/** What the kernel keeps of each size of huge pages; a kernel without them has no such folder, and names no default. */
async function hugepagePools(folder: string, meminfo: string): Promise<HugepagePool[]> {
  const defaultKib = /^Hugepagesize:\s+(\d+) kB$/m.exec(meminfo)?.[1];
  const pools: HugepagePool[] = [];
  for (const pool of (await readdir(folder).catch(() => [])).sort()) {
    const kib = /^hugepages-(\d+)kB$/.exec(pool)?.[1];
    if (kib === undefined) continue;
    const pageBytes = BigInt(kib) * 1024n;
    const bytesOf = async (file: string): Promise<bigint> =>
      BigInt((await readFile(join(folder, pool, file), 'utf8')).trim()) * pageBytes;
    const [totalBytes, freeBytes] = [await bytesOf('nr_hugepages'), await bytesOf('free_hugepages')];
    if (totalBytes > 0n) pools.push({ pageBytes, totalBytes, freeBytes, isDefault: kib === defaultKib });
  }
  return pools;
}

/** The first figure of /proc/loadavg. */
export function parseLoad(text: string): number {
  const load = Number.parseFloat(text);
  if (!Number.isFinite(load)) throw new Error('/proc/loadavg: no figure');
  return load;
}

export interface ProcHostOptions {
  clock: Clock;
  /** Ceph's own place for it unless told. */
  cephConfigFile?: string | undefined;
  /** `admin` unless told. */
  cephUser?: string | undefined;
  procFolder?: string;
  hugepagesFolder?: string;
}

/** Without the loopback's and those that hold on one link only. */
function ownAddresses(): string[] {
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, family, scopeid }) => !internal && (family === 'IPv4' || scopeid === 0))
    .map(({ address }) => address);
}

const CEPH_CONFIG_FILE = '/etc/ceph/ceph.conf';

/** The machine this process runs on. */
export function createProcHost({
  clock,
  cephConfigFile = CEPH_CONFIG_FILE,
  cephUser,
  procFolder = '/proc',
  hugepagesFolder = '/sys/kernel/mm/hugepages',
}: ProcHostOptions): Host {
  const ceph = { clock, configFile: cephConfigFile, user: cephUser };
  return {
    ceph: createCephCommand(ceph),
    storageLocks: createRbdCommand(ceph),
    links: createIpLinks({ clock }),
    consoles: systemConsoles,
    memory: async () => {
      const meminfo = await readFile(join(procFolder, 'meminfo'), 'utf8');
      return { ...parseMeminfo(meminfo), hugepagePools: await hugepagePools(hugepagesFolder, meminfo) };
    },
    addresses: ownAddresses,
    load: async () => parseLoad(await readFile(join(procFolder, 'loadavg'), 'utf8')),
  };
}
