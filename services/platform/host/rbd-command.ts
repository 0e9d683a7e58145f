// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';
import type { CallLimit } from '../hypervisor/hypervisor.js';
import { CannotRun } from '../process/run-program.js';
import { CephError } from './ceph.js';
import { hasCeph, jsonOf, runCeph, type CephProgramOptions } from './ceph-program.js';
import type { StorageLocks } from './storage-locks.js';

export interface RbdCommandOptions extends CephProgramOptions {
  /** The programs; those of the PATH unless told. */
  ceph?: string;
  rbd?: string;
}

/** The monitors write down each client that is shut out. */
const LIMIT_MS = 10_000;
/**
 * Longer than any machine stands frozen and then goes on by itself: a client whose entry has lapsed may write again. An
 * entry costs some bytes of the OSD map, and hits nobody else, as a client's nonce is its own.
 */
const BLOCKLIST_SECONDS = 7 * 24 * 3_600;
const NOT_THERE = 2;

const lockList = z.array(z.looseObject({ id: z.string(), locker: z.string(), address: z.string() }));
const imageStatus = z.looseObject({ watchers: z.array(z.looseObject({ address: z.string() })).default([]) });
const osdMap = z.looseObject({ epoch: z.int(), blocklist: z.record(z.string(), z.unknown()) });

/** The locks of RBD images by Ceph's commands; `profile rbd` is all that their user needs. */
export function createRbdCommand({ ceph = 'ceph', rbd = 'rbd', ...options }: RbdCommandOptions): StorageLocks {
  const run = async (program: string, words: readonly string[], call: CallLimit, alsoFine: readonly number[] = []): Promise<string> => {
    if (!(await hasCeph(options))) throw new CephError('this host has no Ceph');
    try {
      return await runCeph(options, { program, words, limitMs: LIMIT_MS, alsoFine }, call);
    } catch (error) {
      throw error instanceof CannotRun ? new CephError(error.message) : error;
    }
  };
  const ask = async <T>(shape: z.ZodType<T>, program: string, words: readonly string[], call: CallLimit): Promise<T> => {
    const what = words.slice(0, 2).join(' ');
    const read = shape.safeParse(jsonOf(await run(program, [...words, '--format', 'json'], call), what));
    if (!read.success) throw new CephError(`${what} said what is not understood`);
    return read.data;
  };

  return {
    async useOf(image, call) {
      const locks = await ask(lockList, rbd, ['lock', 'ls', named(image)], call);
      const { watchers } = await ask(imageStatus, rbd, ['status', named(image)], call);
      return {
        locks: locks.map(({ id, locker, address }) => ({ id, holder: locker, address })),
        watchers: watchers.map(({ address }) => address),
      };
    },
    async blocklist(addresses, call) {
      for (const address of addresses) await run(ceph, ['osd', 'blocklist', 'add', address, String(BLOCKLIST_SECONDS)], call);
      const { epoch, blocklist } = await ask(osdMap, ceph, ['osd', 'dump'], call);
      const missing = addresses.filter((address) => blocklist[address] === undefined);
      if (missing.length > 0) throw new CephError(`OSD map ${String(epoch)} does not hold ${missing.join(', ')}`);
      return BigInt(epoch);
    },
    async breakLock(image, { id, holder }, call) {
      await run(rbd, ['lock', 'rm', named(image), id, holder], call, [NOT_THERE]);
    },
  };
}

/** A word of a definition that begins with a dash would be taken for an option. */
function named(image: string): string {
  if (image.startsWith('-')) throw new CephError(`"${image}" is no image`);
  return image;
}
