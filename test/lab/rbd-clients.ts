// SPDX-License-Identifier: Apache-2.0
import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { agentUser, cephConfigFile, hostCephConfigFile, hostNamed, rbdDisk, rbdLocks, removeRbdDisk, until, type RbdDisk } from '../../deploy/lab/api.js';
import { systemClock } from '../../services/platform/clock/system.js';
import { createRbdCommand } from '../../services/platform/host/rbd-command.js';
import type { LockHolder, StorageLocksRig } from '../contract/storage-locks.rig.js';
import { lab } from './mesh.js';

const running = new Set<ChildProcess>();
const disks = new Set<RbdDisk>();

/** The real storage cluster, asked as an agent asks it; its clients are QEMU's, without a guest. */
export function realStorageRig(): StorageLocksRig {
  const configFile = hostCephConfigFile(hostNamed(lab, 'h1'));
  return {
    locks: createRbdCommand({ clock: systemClock, configFile, user: agentUser }),
    async makeImage() {
      const disk = await rbdDisk(lab, `contract-${randomBytes(3).toString('hex')}`);
      disks.add(disk);
      return disk.image;
    },
    open: openImage,
  };
}

/** Ends every client and removes every image. */
export async function endRbdClients(): Promise<void> {
  for (const child of running) child.kill('SIGKILL');
  running.clear();
  const all = [...disks];
  disks.clear();
  // One that was not shut out keeps its image for as long as the cluster believes in it.
  for (const disk of all) await removeRbdDisk(lab, disk);
}

async function openImage(image: string): Promise<LockHolder> {
  const child = spawn('qemu-io', ['-f', 'raw', '-t', 'none', `rbd:${image}:conf=${cephConfigFile(lab)}`], { stdio: 'pipe' });
  running.add(child);
  let said = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (piece: Buffer) => (said += piece.toString()));
  const write = async (): Promise<boolean> => {
    said = '';
    child.stdin.write('write 0 512\n');
    await until('qemu-io answers', 60_000, () => Promise.resolve(/wrote|failed/.test(said) || child.exitCode !== null ? undefined : said));
    return said.includes('wrote 512/512');
  };
  // The lock is taken with the first write.
  if (!(await write())) throw new Error(`${image} cannot be written to: ${said}`);
  const [lock] = await rbdLocks(lab, { image });
  if (lock === undefined) throw new Error(`${image} has no lock`);
  return {
    address: lock.address,
    write,
    async die() {
      child.kill('SIGKILL');
      if (child.exitCode === null && child.signalCode === null) await once(child, 'exit');
      running.delete(child);
    },
  };
}
