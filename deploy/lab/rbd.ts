// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { ceph, cephSecretOf } from './ceph.js';
import { cephConfigFile, cephPool, guestUser, monitorAddress, monitorPort } from './ceph-files.js';
import { LabError } from './errors.js';
import type { Lab } from './layout.js';

/** A disk on the storage cluster, with the exclusive lock that RBD images have by default. */
export interface RbdDisk {
  name: string;
  /** As pool/name. */
  image: string;
  monitor: { host: string; port: number };
  user: string;
  /** libvirt's secret with the user's key. */
  secret: string;
}

/** Makes an empty disk on the storage cluster. */
export async function rbdDisk(lab: Lab, name: string): Promise<RbdDisk> {
  const image = `${cephPool}/${name}`;
  await ceph(lab, ['rbd', 'create', '--size', '1M', image]);
  const monitor = { host: monitorAddress(lab), port: monitorPort };
  return { name, image, monitor, user: guestUser, secret: cephSecretOf(lab) };
}

/** Removes it; it must not be in use any more. */
export async function removeRbdDisk(lab: Lab, { image }: Pick<RbdDisk, 'image'>): Promise<void> {
  await ceph(lab, ['rbd', 'rm', '--no-progress', image], 90_000);
}

/** Who holds the image's exclusive lock. */
export interface RbdLock {
  id: string;
  locker: string;
  address: string;
}

export async function rbdLocks(lab: Lab, { image }: Pick<RbdDisk, 'image'>): Promise<RbdLock[]> {
  return JSON.parse(await ceph(lab, ['rbd', 'lock', 'ls', '--format', 'json', image])) as RbdLock[];
}

/** What the guest wrote last: its boot in the highest byte, its count in the rest; 0 where it wrote nothing. */
export function rbdGenerationOf(lab: Lab, { image }: Pick<RbdDisk, 'image'>): Promise<number> {
  return new Promise((resolve, reject) => {
    const args = ['--conf', cephConfigFile(lab), 'export', '--no-progress', image, '-'];
    const child = spawn('rbd', args, { stdio: ['ignore', 'pipe', 'pipe'], cwd: '/', timeout: 30_000 });
    const read: Buffer[] = [];
    let words = '';
    child.stdout.on('data', (piece: Buffer) => read.push(piece));
    child.stderr.on('data', (piece: Buffer) => (words += piece.toString()));
    child.on('error', reject);
    child.on('close', (code) => {
      if (code === 0) resolve(Buffer.concat(read).readUInt32LE());
      else reject(new LabError(`rbd export ${image} failed: ${words.trim()}`));
    });
  });
}
