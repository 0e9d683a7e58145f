// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'vitest';
import { hostNamed, processesOf, rbdDisk, rbdGenerationOf, removeRbdDisk, until, up, type RbdDisk } from '../../deploy/lab/api.js';
import { removeGuests, startGuest, type TestGuest } from './guest.js';
import { lab, meshEnv, meshUp, shown } from './mesh.js';

export interface ShownNode {
  name: string;
  ready?: boolean;
  judgement?: string;
  conditions?: { type: string; detail: string }[];
  figures?: { ages: { collector: string; age?: string; failure?: string }[] };
  ceph?: {
    health: string;
    detail?: string;
    osdsTotal?: number;
    osdsUp?: number;
    osdsIn?: number;
    osdsDown?: number[];
    usedBytes?: string;
    totalBytes?: string;
  };
}

/** The mesh with a storage cluster. */
export async function meshWithCeph(): Promise<void> {
  await up(lab, { env: meshEnv, withCeph: true });
  await meshUp();
}

/** Waits until every node's agent has heard that it is well; on a busy machine some of its questions take too long. */
export async function everyNodeHeardOfCeph(): Promise<void> {
  await everyNodeSays('the storage cluster is well', ({ ceph }) =>
    ceph?.health === 'HEALTH_OK' ? undefined : (ceph?.detail ?? 'nothing of it'),
  );
}

export async function nodeNamed(name: string): Promise<ShownNode> {
  return (await shown<{ node: ShownNode }>('node', 'show', name)).node;
}

/** Waits until there is nothing more to wait for at any node. An agent asks Ceph every 30 s. */
export async function everyNodeSays(what: string, missing: (node: ShownNode) => string | undefined): Promise<void> {
  await until(what, 300_000, async () => {
    const nodes = await Promise.all(lab.hosts.map(({ name }) => nodeNamed(name)));
    const unmet = nodes.flatMap((node) => {
      const why = missing(node);
      return why === undefined ? [] : [`${node.name}: ${why}`];
    });
    return unmet.length === 0 ? undefined : unmet.join('; ');
  });
}

/** A guest that writes every count to a disk on the storage cluster. */
export interface RbdGuest extends TestGuest {
  readonly disk: RbdDisk;
  /** What its disk holds: how often it was started again, and its count. */
  generation(): Promise<{ boot: number; count: number }>;
}

const disks = new Set<RbdDisk>();

export async function startRbdGuest(host: string, options: readonly string[] = []): Promise<RbdGuest> {
  const disk = await rbdDisk(lab, `disk-${randomBytes(3).toString('hex')}`);
  disks.add(disk);
  const guest = await startGuest(host, { kind: 'generation', disk }, '', options);
  return {
    ...guest,
    disk,
    async generation() {
      const word = await rbdGenerationOf(lab, disk);
      return { boot: word >>> 24, count: word & 0xffffff };
    },
  };
}

export async function removeRbdGuests(): Promise<void> {
  await removeGuests();
  const all = [...disks];
  disks.clear();
  for (const disk of all) await removeRbdDisk(lab, disk);
}

/** Processes by which agents ask Ceph just now, in any host. */
export async function cephProcesses(): Promise<Map<number, string>> {
  const pids = (await Promise.all(lab.hosts.map(({ name }) => processesOf(hostNamed(lab, name))))).flat();
  const words = (pid: number): string => {
    try {
      return readFileSync(join('/proc', String(pid), 'cmdline'), 'utf8').replaceAll('\0', ' ');
    } catch {
      // It has ended.
      return '';
    }
  };
  return new Map(pids.map((pid) => [pid, words(pid)] as const).filter(([, text]) => text.includes('/ceph/ceph.conf')));
}

/** Fails where a node is taken for anything but well. */
export function isWell({ ready, conditions = [], judgement, name }: ShownNode): void {
  const known = conditions.filter(({ type }) => type !== 'NODE_CONDITION_TYPE_COLLECTOR_LATE');
  expect({ name, ready, judgement, known }).toEqual({ name, ready: true, judgement: 'NODE_JUDGEMENT_ALIVE', known: [] });
}
