// SPDX-License-Identifier: Apache-2.0
import { CephError } from './ceph.js';
import type { ImageLock, StorageLocks } from './storage-locks.js';

/** A storage cluster whose images have locks, and who holds them. */
export interface SimulatedStorage extends StorageLocks {
  makeImage(image: string): void;
  /** A client opens the image and takes its lock. Throws CephError where another holds it, or where it is shut out. */
  open(image: string, address: string): void;
  /** It closes the image and gives its lock back; a client that dies does not. */
  close(image: string, address: string): void;
  /** The cluster has not heard of the client for long, and forgets that it had the image open. Its lock stays. */
  forget(address: string): void;
  /** Whether the client may still write. */
  isShutOut(address: string): boolean;
  /** While set, every question and deed fails with it. */
  failure: Error | undefined;
}

interface Image {
  locks: ImageLock[];
  watchers: Set<string>;
}

export function createSimulatedStorage(): SimulatedStorage {
  const images = new Map<string, Image>();
  const shutOut = new Set<string>();
  let epoch = 1n;
  let clients = 4_000;

  const imageOf = (name: string): Image => {
    const image = images.get(name);
    if (image === undefined) throw new CephError(`error opening image ${name}: (2) No such file or directory`);
    return image;
  };
  const storage: SimulatedStorage = {
    failure: undefined,
    makeImage(name) {
      images.set(name, { locks: [], watchers: new Set() });
    },
    open(name, address) {
      const image = imageOf(name);
      if (shutOut.has(address)) throw new CephError(`${address} is blocklisted`);
      const held = image.locks.find((lock) => lock.address !== address);
      if (held !== undefined) throw new CephError(`${name} is locked by ${held.holder} at ${held.address}`);
      image.watchers.add(address);
      if (image.locks.length > 0) return;
      clients += 1;
      image.locks = [{ id: `auto ${String(clients)}00`, holder: `client.${String(clients)}`, address }];
    },
    close(name, address) {
      const image = imageOf(name);
      image.watchers.delete(address);
      image.locks = image.locks.filter((lock) => lock.address !== address);
    },
    forget(address) {
      for (const { watchers } of images.values()) watchers.delete(address);
    },
    isShutOut: (address) => shutOut.has(address),
    useOf: (name) => answering(() => ({ locks: [...imageOf(name).locks], watchers: [...imageOf(name).watchers] })),
    blocklist: (addresses) =>
      answering(() => {
        for (const address of addresses) {
          shutOut.add(address);
          epoch += 1n;
          storage.forget(address);
        }
        return epoch;
      }),
    breakLock: (name, { id, holder }) =>
      answering(() => {
        const image = imageOf(name);
        image.locks = image.locks.filter((lock) => lock.id !== id || lock.holder !== holder);
      }),
  };
  async function answering<T>(answer: () => T): Promise<T> {
    await Promise.resolve();
    if (storage.failure !== undefined) throw storage.failure;
    return answer();
  }
  return storage;
}
