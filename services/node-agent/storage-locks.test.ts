// SPDX-License-Identifier: Apache-2.0
import { FenceAction, LeaderRole, OrderHeader, ReleaseStorageLocksRequest, type ReleaseStorageLocksResponse } from '@lockstep/sdk/v1';
import { beforeEach, describe, expect, it } from 'vitest';
import { nodeCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { DeadlineExceeded } from '../platform/clock/clock.js';
import { CephError } from '../platform/host/ceph.js';
import { createSimulatedStorage, type SimulatedStorage } from '../platform/host/simulated-locks.js';
import type { StorageLocks } from '../platform/host/storage-locks.js';
import { call, TestBed, type TestNode } from './test-bed.js';

const IMAGE = 'vms/web';
const GUEST = '10.0.0.1:0/77';
const OLD_ACTION = 'fence-1';

let bed: TestBed;
let storage: SimulatedStorage;
let dead: TestNode;
let healthy: TestNode;
/** Decorates the storage cluster as the healthy agent sees it. */
let seen: Partial<StorageLocks>;

beforeEach(async () => {
  bed = new TestBed();
  storage = createSimulatedStorage();
  storage.makeImage(IMAGE);
  storage.open(IMAGE, GUEST);
  seen = {};
  const decorated: StorageLocks = {
    useOf: (...args) => (seen.useOf ?? storage.useOf)(...args),
    blocklist: (...args) => (seen.blocklist ?? storage.blocklist)(...args),
    breakLock: (...args) => (seen.breakLock ?? storage.breakLock)(...args),
  };
  dead = await bed.node('a', { addresses: ['10.0.0.1', '192.168.122.1'] });
  healthy = await bed.node('b', { storageLocks: decorated, addresses: ['10.0.0.2', '192.168.122.1'] });
});

/** Writes what the Fencer writes when it has proven the host off. */
async function proveOff(fencedBy = OLD_ACTION): Promise<void> {
  const record = await bed.nodeRecord('a');
  if (record === undefined) throw new Error('a has no record');
  await bed.store.txn([{ op: 'set', key: keys.node('a'), value: nodeCodec.encode({ ...record, fencedBy }) }]);
}

async function release(change: Partial<ReleaseStorageLocksRequest> = {}, proof: Partial<FenceAction> = {}): Promise<ReleaseStorageLocksResponse> {
  const request = ReleaseStorageLocksRequest.create({
    header: await bed.header(healthy),
    node: 'a',
    proof: FenceAction.create({ id: OLD_ACTION, node: 'a', incarnation: 1n, ...proof }),
    rbdImages: [IMAGE],
    ...change,
  });
  return (await bed.run(Promise.resolve(healthy.service.releaseStorageLocks(request, call())))) as ReleaseStorageLocksResponse;
}

/** Nothing was done: the guest holds its lock and may write. */
async function untouched(address = GUEST): Promise<void> {
  expect(storage.isShutOut(address)).toBe(false);
  expect((await storage.useOf(IMAGE, { deadlineMs: 1_000 })).locks).toMatchObject([{ address }]);
}

describe("a dead host's storage locks", () => {
  it('are broken with the proof, once: its client is shut out and cannot come back', async () => {
    await proveOff();
    expect(await release()).toMatchObject({ released: 1, broken: [{ image: IMAGE, address: GUEST }], blocklisted: [GUEST] });
    expect(storage.isShutOut(GUEST)).toBe(true);
    expect(await storage.useOf(IMAGE, { deadlineMs: 1_000 })).toEqual({ locks: [], watchers: [] });
    expect(await release()).toMatchObject({ released: 0, blocklisted: [], osdMapEpoch: 0n });
    expect(() => { storage.open(IMAGE, '10.0.0.2:0/5'); }).not.toThrow();
  });

  it('are broken by the address that its agent listens at, where it told no others', async () => {
    await dead.kill();
    dead = await bed.node('c', { config: { address: '10.0.0.3:7701' } });
    storage.close(IMAGE, GUEST);
    storage.open(IMAGE, '10.0.0.3:0/1');
    const record = await bed.nodeRecord('c');
    if (record === undefined) throw new Error('c has no record');
    await bed.store.txn([{ op: 'set', key: keys.node('c'), value: nodeCodec.encode({ ...record, fencedBy: OLD_ACTION }) }]);
    expect(await release({ node: 'c' }, { node: 'c' })).toMatchObject({ released: 1 });
  });

  it.each<[string, () => Promise<void>, Partial<FenceAction>]>([
    ['while nothing proves it off', () => Promise.resolve(), {}],
    ['by another action than the one that holds', () => proveOff('fence-2'), {}],
    ['of another life than the one that was proven off', () => proveOff(), { incarnation: 2n }],
    ['once it has joined again', async () => { await proveOff(); await dead.restart({ addresses: ['10.0.0.1'] }); }, {}],
  ])('are not touched %s', async (_what, before, proof) => {
    await before();
    await expect(release({}, proof)).rejects.toMatchObject({ reason: 'NOT_FENCED' });
    await untouched();
  });

  it('are not touched where the host joins again after they were looked at: what it starts then is safe', async () => {
    await proveOff();
    const newGuest = '10.0.0.1:0/78';
    seen.useOf = async (image, limit) => {
      await dead.restart({ addresses: ['10.0.0.1'] });
      storage.close(IMAGE, GUEST);
      storage.open(IMAGE, newGuest);
      return await storage.useOf(image, limit);
    };
    await expect(release()).rejects.toMatchObject({ reason: 'NOT_FENCED' });
    await untouched(newGuest);
  });

  it('are the lock of the life that ended, however late the deed comes: the next one is never shut out', async () => {
    await proveOff();
    const newGuest = '10.0.0.1:0/78';
    seen.blocklist = async (addresses, limit) => {
      // The proof was read; then this agent stood still, and the host came back.
      await dead.restart({ addresses: ['10.0.0.1'] });
      storage.close(IMAGE, GUEST);
      storage.open(IMAGE, newGuest);
      return await storage.blocklist(addresses, limit);
    };
    await release();
    await untouched(newGuest);
  });

  it.each([
    ['of a host that is alive', '10.0.0.2:0/9'],
    ['of nobody that is known', '172.16.0.1:0/9'],
    ['of an address that two hosts have', '192.168.122.1:0/9'],
  ])('are not the lock %s, which is left alone and named', async (_whose, address) => {
    await proveOff();
    storage.close(IMAGE, GUEST);
    storage.open(IMAGE, address);
    await expect(release()).rejects.toMatchObject({ reason: 'STORAGE_LOCKED', message: expect.stringContaining(address) as string });
    await untouched(address);
  });

  it('stay where the storage cluster says no, with its words', async () => {
    await proveOff();
    storage.failure = new CephError('ceph osd blocklist add: monclient: hunting');
    await expect(release()).rejects.toMatchObject({ reason: 'STORAGE_UNAVAILABLE', message: storage.failure.message });
    storage.failure = new DeadlineExceeded('rbd lock ls (killed)', 10_000);
    await expect(release()).rejects.toMatchObject({ reason: 'STORAGE_UNAVAILABLE', message: storage.failure.message });
    storage.failure = undefined;
    await untouched();
  });

  it.each<[string, Partial<ReleaseStorageLocksRequest>, Partial<FenceAction>, string]>([
    ['no node', { node: '' }, {}, 'node'],
    ['the very node that is asked', { node: 'b' }, { node: 'b' }, 'node'],
    ['no action', {}, { id: '' }, 'proof.id'],
    ['no proof at all', { proof: undefined }, {}, 'proof.id'],
    ["another node's action", {}, { node: 'b' }, 'proof.node'],
    ['no image', { rbdImages: [] }, {}, 'rbd_images'],
    ['what would be an option', { rbdImages: ['--conf=/x'] }, {}, 'rbd_images'],
    ['what has no pool', { rbdImages: ['web'] }, {}, 'rbd_images'],
  ])('are not touched where the order names %s', async (_what, change, proof, field) => {
    await proveOff();
    await expect(release(change, proof)).rejects.toMatchObject({ reason: 'INVALID_FIELD', metadata: { field } });
    await untouched();
  });

  it('are not touched by a leader that was followed by another', async () => {
    await proveOff();
    await release({ header: OrderHeader.create({ leaderRole: LeaderRole.SCHEDULER, leaderEpoch: 9n, incarnation: 1n }), rbdImages: ['vms/other'] }).catch(() => undefined);
    await expect(release({ header: OrderHeader.create({ leaderRole: LeaderRole.SCHEDULER, leaderEpoch: 8n, incarnation: 1n }) })).rejects.toMatchObject({ reason: 'STALE_EPOCH' });
    await untouched();
  });
});
