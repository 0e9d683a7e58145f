// SPDX-License-Identifier: Apache-2.0
import { renameSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeAll, describe, expect, it } from 'vitest';
import { ceph, continuityOf, hostNamed, rbdLocks, signalCeph, until, type CephDaemon } from '../../deploy/lab/api.js';
import { cephProcesses, everyNodeHeardOfCeph, everyNodeSays, isWell, meshWithCeph, nodeNamed, removeRbdGuests, startRbdGuest } from './ceph-mesh.js';
import { lab, lockstep, ok } from './mesh.js';
import { endRbdClients, realStorageRig } from './rbd-clients.js';
import { storageLocksContract } from '../contract/storage-locks.rig.js';

beforeAll(async () => {
  await meshWithCeph();
  await everyNodeHeardOfCeph();
});
afterEach(removeRbdGuests);
afterEach(endRbdClients);

const addressOf = (host: string) => `${hostNamed(lab, host).addresses.a}:`;

/** Freezes a daemon of Ceph for as long as `meanwhile` runs, and waits until all is well again. */
async function without(daemon: CephDaemon, meanwhile: () => Promise<void>): Promise<void> {
  signalCeph(lab, daemon, 'SIGSTOP');
  try {
    await meanwhile();
  } finally {
    signalCeph(lab, daemon, 'SIGCONT');
  }
  await everyNodeSays('the storage cluster is well again', (node) =>
    node.ceph?.health === 'HEALTH_OK' && failureOf(node) === '' ? undefined : `${node.ceph?.detail ?? ''} ${failureOf(node)}`,
  );
}

const failureOf = ({ figures }: Awaited<ReturnType<typeof nodeNamed>>): string =>
  figures?.ages.find(({ collector }) => collector === 'ceph')?.failure ?? '';

describe('a real storage cluster', () => {
  it('is told by every node: its health, its OSD up and in, what is used of it', async () => {
    const { stats } = JSON.parse(await ceph(lab, ['ceph', 'df', '--format', 'json'])) as { stats: { total_bytes: number } };
    for (const { name } of lab.hosts) {
      const { ceph: told } = await nodeNamed(name);
      expect(told).toMatchObject({ health: 'HEALTH_OK', osdsTotal: 1, osdsUp: 1, osdsIn: 1, totalBytes: String(stats.total_bytes) });
      expect(await ok('node', 'show', name)).toMatch(/^Ceph +HEALTH_OK, 1 up and 1 in of 1 OSDs, .* used of 1 GiB$/m);
    }
  });

  it('that is not there is no error', async () => {
    const file = join(hostNamed(lab, 'h3').dir, 'ceph/ceph.conf');
    renameSync(file, `${file}.away`);
    try {
      await until('h3 has no Ceph', 90_000, async () => ((await nodeNamed('h3')).ceph === undefined ? undefined : 'it has'));
      const node = await nodeNamed('h3');
      expect(failureOf(node)).toBe('');
      isWell(node);
      expect(node.conditions ?? []).toEqual([]);
    } finally {
      renameSync(`${file}.away`, file);
    }
  });
});

describe('a VM with its disk on RBD', () => {
  it('moves live; its count and what it writes are one history, and its lock goes along', async () => {
    const guest = await startRbdGuest('h1');
    for (const target of ['h2', 'h3', 'h1']) {
      const before = await guest.generation();
      const moved = await lockstep('vm', 'migrate', guest.name, target, '--force-live', '--wait');
      expect(moved, moved.stderr).toMatchObject({ code: 0 });
      await guest.runsOnlyOn(target);
      await guest.countsOn();
      const after = await guest.generation();
      expect(after.boot).toBe(0);
      expect(after.count).toBeGreaterThan(before.count);
      const locks = await rbdLocks(lab, guest.disk);
      expect(locks).toHaveLength(1);
      expect(locks[0]?.address.startsWith(addressOf(target)), locks[0]?.address).toBe(true);
    }
    expect(continuityOf(lab, guest.name)).toMatchObject({ ok: true, moves: 3 });
  });

  it('stands still while the OSD does, which every node tells, and then goes on with nothing lost', async () => {
    const guest = await startRbdGuest('h2');
    await without('osd', async () => {
      await everyNodeSays('the OSD is down', (node) => (node.ceph?.osdsDown?.[0] === 0 ? undefined : (node.ceph?.health ?? '')));
      const { last } = continuityOf(lab, guest.name);
      for (const { name } of lab.hosts) {
        const node = await nodeNamed(name);
        isWell(node);
        expect(node.ceph).toMatchObject({ osdsTotal: 1, osdsIn: 1 });
        expect(node.ceph?.osdsUp ?? 0).toBe(0);
      }
      expect(continuityOf(lab, guest.name).last).toBe(last);
    });
    await guest.countsOn();
    expect((await guest.generation()).boot).toBe(0);
  });
});

storageLocksContract('the real storage cluster', realStorageRig);

it('a monitor that answers nobody costs two seconds: the question is killed, nothing of it stays, the heartbeat goes on', async () => {
  await without('mon', async () => {
    const seen = new Map<number, string>();
    await everyNodeSays('the question was killed', (node) => {
      isWell(node);
      return /ceph (osd dump|status) \(killed\).*2000 ms/.test(failureOf(node)) ? undefined : `"${failureOf(node)}"`;
    });
    // A round of questions of every node.
    await until('questions are asked in vain', 90_000, async () => {
      for (const [pid, words] of await cephProcesses()) seen.set(pid, words);
      return seen.size >= lab.hosts.length ? undefined : `${String(seen.size)} processes seen`;
    });
    await until('none of them is left', 20_000, async () => {
      const left = [...(await cephProcesses()).keys()].filter((pid) => seen.has(pid));
      return left.length === 0 ? undefined : left.map((pid) => `${String(pid)} ${seen.get(pid) ?? ''}`).join('; ');
    });
    for (const { name } of lab.hosts) {
      const node = await nodeNamed(name);
      isWell(node);
      // What was heard last stays, and its age says how old it is.
      expect(node.ceph).toMatchObject({ health: 'HEALTH_OK' });
    }
  });
});
