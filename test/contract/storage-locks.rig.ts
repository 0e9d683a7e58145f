// SPDX-License-Identifier: Apache-2.0
import { beforeEach, describe, expect, it } from 'vitest';
import { CephError } from '../../services/platform/host/ceph.js';
import type { StorageLocks } from '../../services/platform/host/storage-locks.js';

/** A client that has an image open and its lock. */
export interface LockHolder {
  /** As the storage cluster knows it. */
  address: string;
  /** Writes to the image; false where it may not any more. */
  write(): Promise<boolean>;
  /** Ends without a word, as in a crash. */
  die(): Promise<void>;
}

export interface StorageLocksRig {
  locks: StorageLocks;
  /** An empty image, as pool/name. */
  makeImage(): Promise<string>;
  open(image: string): Promise<LockHolder>;
}

const CALL = { deadlineMs: 60_000 };

/** What the locks of a storage cluster do, the real one's and the embedded one's. */
export function storageLocksContract(what: string, rigOf: () => StorageLocksRig): void {
  describe(`the locks of ${what}`, () => {
    let rig: StorageLocksRig;
    let image: string;
    beforeEach(async () => {
      rig = rigOf();
      image = await rig.makeImage();
    });

    it('an image that nobody uses has none', async () => {
      expect(await rig.locks.useOf(image, CALL)).toEqual({ locks: [], watchers: [] });
    });

    it('an image that is not there is refused with its name', async () => {
      const refused = await rig.locks.useOf('vms/nothing', CALL).catch((error: unknown) => error);
      expect(refused).toBeInstanceOf(CephError);
      expect((refused as CephError).message).toContain('nothing');
    });

    it('outlive their holder, until they are broken: then another can take them', async () => {
      const first = await rig.open(image);
      const { locks, watchers } = await rig.locks.useOf(image, CALL);
      expect(locks).toMatchObject([{ address: first.address }]);
      expect(watchers).toContain(first.address);
      await first.die();
      expect((await rig.locks.useOf(image, CALL)).locks).toEqual(locks);

      expect(await rig.locks.blocklist([first.address], CALL)).toBeGreaterThan(0n);
      const [lock] = locks;
      if (lock === undefined) throw new Error('it has no lock');
      await rig.locks.breakLock(image, lock, CALL);
      expect(await rig.locks.useOf(image, CALL)).toEqual({ locks: [], watchers: [] });
      const second = await rig.open(image);
      expect(await second.write()).toBe(true);
      expect((await rig.locks.useOf(image, CALL)).locks).toMatchObject([{ address: second.address }]);
    });

    it('a client that is shut out writes no more, though it lives', async () => {
      const client = await rig.open(image);
      expect(await client.write()).toBe(true);
      await rig.locks.blocklist([client.address], CALL);
      expect(await client.write()).toBe(false);
    });

    it('shutting out and breaking may be repeated; the map only grows', async () => {
      const client = await rig.open(image);
      const { locks: [lock] } = await rig.locks.useOf(image, CALL);
      if (lock === undefined) throw new Error('it has no lock');
      await client.die();
      const epoch = await rig.locks.blocklist([client.address], CALL);
      await rig.locks.breakLock(image, lock, CALL);
      expect(await rig.locks.blocklist([client.address], CALL)).toBeGreaterThanOrEqual(epoch);
      await rig.locks.breakLock(image, lock, CALL);
      expect((await rig.locks.useOf(image, CALL)).locks).toEqual([]);
    });

    it('a lock that another holds by now is not broken by the name of an older one', async () => {
      const old = await rig.open(image);
      const { locks: [lock] } = await rig.locks.useOf(image, CALL);
      if (lock === undefined) throw new Error('it has no lock');
      await old.die();
      await rig.locks.blocklist([old.address], CALL);
      await rig.locks.breakLock(image, lock, CALL);
      const next = await rig.open(image);
      await rig.locks.breakLock(image, lock, CALL);
      expect((await rig.locks.useOf(image, CALL)).locks).toMatchObject([{ address: next.address }]);
      expect(await next.write()).toBe(true);
    });
  });
}
