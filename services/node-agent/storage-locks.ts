// SPDX-License-Identifier: Apache-2.0
import type { BrokenStorageLock, FenceAction, Node, ReleaseStorageLocksRequest } from '@lockstep/sdk/v1';
import { invalidField, LockstepError } from '../core/errors/catalogue.js';
import { nodeCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { hostOf, sortByHost, type Sorted } from '../core/storage/lock-holders.js';
import { Cancelled, DeadlineExceeded } from '../platform/clock/clock.js';
import { CephError } from '../platform/host/ceph.js';
import type { ImageLock } from '../platform/host/storage-locks.js';
import type { CallLimit } from '../platform/hypervisor/hypervisor.js';
import type { AgentParts } from './parts.js';

/** What was broken, and who is shut out. */
export interface Released {
  released: number;
  broken: BrokenStorageLock[];
  blocklisted: string[];
  osdMapEpoch: bigint;
}

const MOST_IMAGES = 256;
const CALL_MS = 10_000;

/**
 * Breaks the locks that a dead host's guests held on images of the storage cluster.
 *
 * First it looks who holds them, then it reads the proof, then it acts. The proof is that host's record, which its next
 * joining changes, and it starts nothing before that: so whoever was seen before the proof was read is of the life that
 * ended, and shutting it out, however late that takes effect, hits no guest that the host starts when it is back. For the
 * same reason clients are shut out one by one and not by their host's address, and no entry has to be taken back.
 */
export class StorageLockBreaker {
  constructor(private readonly parts: Pick<AgentParts, 'env' | 'config' | 'stopped'>) {}

  /** Fails with NOT_FENCED, STORAGE_LOCKED and STORAGE_UNAVAILABLE. May be repeated. */
  async release({ node, proof, rbdImages }: ReleaseStorageLocksRequest, stillOrdered: () => void): Promise<Released> {
    const images = this.#checked(node, proof, rbdImages);
    const { env, stopped } = this.parts;
    const call: CallLimit = { deadlineMs: CALL_MS, signal: stopped };
    const host = await this.#addressesOf(node, proof);

    const sorted = await storage(async () => {
      const all = new Map<string, Sorted<ImageLock>>();
      for (const image of images) all.set(image, sortByHost(await env.host.storageLocks.useOf(image, call), host));
      return all;
    });
    this.#refuseForeign(node, sorted);
    stillOrdered();
    await this.#addressesOf(node, proof);

    const clients = [...new Set([...sorted.values()].flatMap(({ toShutOut }) => toShutOut))];
    const broken: BrokenStorageLock[] = [];
    const osdMapEpoch = await storage(async () => {
      if (clients.length === 0) return 0n;
      const epoch = await env.host.storageLocks.blocklist(clients, call);
      for (const [image, { toBreak }] of sorted) {
        for (const lock of toBreak) {
          await env.host.storageLocks.breakLock(image, lock, call);
          broken.push({ image, holder: lock.holder, address: lock.address });
        }
      }
      return epoch;
    });
    this.#tell(node, broken, osdMapEpoch);
    return { released: broken.length, broken, blocklisted: clients, osdMapEpoch };
  }

  #checked(node: string, proof: FenceAction | undefined, images: readonly string[]): string[] {
    if (node === '') throw invalidField('node', 'nothing', 'the name of a node that is proven off');
    if (node === this.parts.config.node) throw invalidField('node', node, 'another node than the one that is asked');
    if (proof === undefined || proof.id === '') throw invalidField('proof.id', 'nothing', 'the fence action that proved it off');
    if (proof.node !== node) throw invalidField('proof.node', proof.node === '' ? 'nothing' : proof.node, node);
    if (images.length === 0 || images.length > MOST_IMAGES) {
      throw invalidField('rbd_images', `${String(images.length)} images`, `1 to ${String(MOST_IMAGES)}`);
    }
    const strange = images.find((image) => !/^[^-\s][^\s]*\/\S+$/.test(image));
    if (strange !== undefined) throw invalidField('rbd_images', strange, 'pool/name');
    return [...new Set(images)];
  }

  /** The addresses of the host, as long as its record says that this very life of it is proven off (INV-3). */
  async #addressesOf(node: string, proof: FenceAction | undefined): Promise<{ own: string[]; shared: ReadonlySet<string> }> {
    const { entries } = await this.parts.env.store.list(keys.nodes, { consistency: 'consistent' });
    const nodes = entries.map(({ value, index }) => nodeCodec.decode(value, index));
    const dead = nodes.find(({ name }) => name === node);
    if (dead === undefined) throw new LockstepError('NODE_NOT_FOUND', `there is no node ${node}`, { node });
    if (dead.fencedBy !== proof?.id || dead.incarnation !== proof.incarnation) {
      const holds = dead.fencedBy === '' ? 'it is not proven off' : `it was proven off by ${dead.fencedBy}`;
      throw new LockstepError(
        'NOT_FENCED',
        `incarnation ${String(proof?.incarnation)} of ${node} is not proven off by ${proof?.id ?? ''}: ${holds}, and is at incarnation ${String(dead.incarnation)}`,
        { node, field: 'proof' },
      );
    }
    const shared = new Set(nodes.filter(({ name }) => name !== node).flatMap(addressesOf));
    return { own: addressesOf(dead), shared };
  }

  #tell(node: string, broken: readonly BrokenStorageLock[], osdMapEpoch: bigint): void {
    const log = this.parts.env.log.child('storage-locks');
    for (const { image, holder, address } of broken) {
      log.warn(`${node} is proven off: its lock on ${image} is broken`, { holder, address, osdMapEpoch: String(osdMapEpoch) });
    }
  }

  #refuseForeign(node: string, sorted: ReadonlyMap<string, Sorted<ImageLock>>): void {
    for (const [image, { foreign }] of sorted) {
      const [lock] = foreign;
      if (lock === undefined) continue;
      throw new LockstepError(
        'STORAGE_LOCKED',
        `${image} is locked by ${lock.holder} at ${lock.address}, which is not known to be ${node}: no lock is touched`,
        { image, node },
      );
    }
  }
}

function addressesOf({ hostAddresses, address, furtherAddresses }: Node): string[] {
  return [...hostAddresses, hostOf(address), ...furtherAddresses.map((further) => hostOf(further.address))];
}

/** What the storage cluster refuses, or does not do in time, is tried again by whoever ordered it. */
async function storage<T>(work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Cancelled || !(error instanceof CephError || error instanceof DeadlineExceeded)) throw error;
    throw new LockstepError('STORAGE_UNAVAILABLE', error.message, {}, { cause: error });
  }
}
