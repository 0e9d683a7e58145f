// SPDX-License-Identifier: Apache-2.0
import { existsSync, mkdirSync, openSync, closeSync, readdirSync, readSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Lab } from './layout.js';
import { until } from './shell.js';
import { end, launch, readRecord } from './supervise.js';

const diskBytes = 1024 * 1024;
const endLimitMs = 2_000;

/** A disk that every host reaches, over a path of its own: it stays when a host's cables are pulled. */
export interface Disk {
  name: string;
  /** Where its server listens, for the domain's XML. */
  socket: string;
}

/** A disk that every host reaches and one QEMU alone may write to: QEMU's image locks see to that. */
export interface LockedDisk {
  name: string;
  file: string;
}

const folderOf = (lab: Lab) => join(lab.sharedDir, 'disks');
const fileOf = (lab: Lab, name: string) => join(folderOf(lab), `${name}.raw`);
const pidFileOf = (lab: Lab, name: string) => join(folderOf(lab), `${name}.pid`);

/** Makes an empty disk and serves it to any number of hosts. Nothing but the guests keeps one from writing to it. */
export async function openDisk(lab: Lab, name: string): Promise<Disk> {
  const folder = folderOf(lab);
  mkdirSync(folder, { recursive: true });
  writeFileSync(fileOf(lab, name), '');
  truncateSync(fileOf(lab, name), diskBytes);
  const socket = join(folder, `${name}.sock`);
  await launch({
    argv: ['qemu-nbd', '--persistent', '--shared=0', '--format=raw', `--socket=${socket}`, fileOf(lab, name)],
    pidFile: pidFileOf(lab, name),
    logFile: join(folder, `${name}.log`),
  });
  await until(`disk ${name}`, 10_000, () => Promise.resolve(existsSync(socket) ? undefined : 'its server does not listen'));
  return { name, socket };
}

/** Makes an empty disk that is a file. All hosts share a kernel, and with it QEMU's locks. */
export function lockedDisk(lab: Lab, name: string): LockedDisk {
  mkdirSync(folderOf(lab), { recursive: true });
  const file = fileOf(lab, name);
  writeFileSync(file, '');
  truncateSync(file, diskBytes);
  return { name, file };
}

/** What the guest wrote last: its boot in the highest byte, its count in the rest; 0 where it wrote nothing. */
export function generationOf(lab: Lab, { name }: Pick<Disk, 'name'>): number {
  const file = openSync(fileOf(lab, name), 'r');
  try {
    const word = Buffer.alloc(4);
    readSync(file, word, 0, word.length, 0);
    return word.readUInt32LE();
  } finally {
    closeSync(file);
  }
}

export async function closeDisk(lab: Lab, { name }: Pick<Disk, 'name'>): Promise<void> {
  await end(readRecord(pidFileOf(lab, name)), endLimitMs);
  for (const suffix of ['raw', 'pid', 'sock', 'log']) rmSync(join(folderOf(lab), `${name}.${suffix}`), { force: true });
}

export async function closeDisks(lab: Lab): Promise<void> {
  if (!existsSync(folderOf(lab))) return;
  const names = readdirSync(folderOf(lab)).filter((file) => file.endsWith('.pid')).map((file) => file.slice(0, -'.pid'.length));
  await Promise.all(names.map((name) => closeDisk(lab, { name })));
}
