// SPDX-License-Identifier: Apache-2.0
import type { Point } from '@lockstep/services/core/migration/points.js';

/** What is broken, in the words of the table. */
export const FAULTS = [
  'scheduler',
  'source agent',
  'target agent',
  'source libvirtd',
  'target libvirtd',
  'source QEMU',
  'target QEMU',
  'Consul leader',
  'source link',
  'target link',
  'SIGSTOP',
] as const;
export type Fault = (typeof FAULTS)[number];

/** One place of a migration where everything stands still and something is broken. */
export interface Row {
  point: Point;
  /** What the journal says there. */
  state: 'PENDING' | 'PREPARING' | 'PREPARED' | 'TRANSFERRING' | 'COMMITTING' | 'ABORTING';
  /** `move`: on the way to the target; `return`: the migration was cancelled and is undone. */
  path: 'move' | 'return';
  /** Where a QEMU of the guest is at this place. */
  guests: 'source' | 'both' | 'target';
  /** Where the memory is that the guest goes on with: at the source, in both copies, or at the target, where it runs. */
  memory: 'source' | 'sent' | 'target';
}

/** Each state of the journal and each boundary between two of them, in their order. */
export const ROWS: readonly Row[] = [
  { point: 'scheduler/taken-up', state: 'PENDING', path: 'move', guests: 'source', memory: 'source' },
  { point: 'scheduler/journal/preparing', state: 'PREPARING', path: 'move', guests: 'source', memory: 'source' },
  { point: 'scheduler/step/prepare-source', state: 'PREPARING', path: 'move', guests: 'source', memory: 'source' },
  { point: 'scheduler/step/prepare-target', state: 'PREPARING', path: 'move', guests: 'both', memory: 'source' },
  { point: 'scheduler/journal/prepared', state: 'PREPARED', path: 'move', guests: 'both', memory: 'source' },
  { point: 'scheduler/journal/transferring', state: 'TRANSFERRING', path: 'move', guests: 'both', memory: 'source' },
  { point: 'scheduler/sending', state: 'TRANSFERRING', path: 'move', guests: 'both', memory: 'source' },
  { point: 'agent/transfer/ended', state: 'TRANSFERRING', path: 'move', guests: 'both', memory: 'sent' },
  { point: 'scheduler/step/transfer', state: 'TRANSFERRING', path: 'move', guests: 'both', memory: 'sent' },
  { point: 'agent/commit-target/finishing', state: 'TRANSFERRING', path: 'move', guests: 'both', memory: 'sent' },
  { point: 'agent/commit-target/finished', state: 'TRANSFERRING', path: 'move', guests: 'both', memory: 'target' },
  { point: 'scheduler/step/commit-target', state: 'TRANSFERRING', path: 'move', guests: 'both', memory: 'target' },
  { point: 'scheduler/journal/committing', state: 'COMMITTING', path: 'move', guests: 'both', memory: 'target' },
  { point: 'scheduler/step/commit-source', state: 'COMMITTING', path: 'move', guests: 'target', memory: 'target' },
  { point: 'scheduler/step/abort-target', state: 'TRANSFERRING', path: 'return', guests: 'source', memory: 'source' },
  { point: 'scheduler/journal/aborting', state: 'ABORTING', path: 'return', guests: 'source', memory: 'source' },
  { point: 'scheduler/step/abort-source', state: 'ABORTING', path: 'return', guests: 'source', memory: 'source' },
];

export interface Cell {
  row: Row;
  fault: Fault;
}

export const keyOf = ({ row, fault }: Cell): string => `${row.point} × ${fault}`;

/** A QEMU that is not there cannot be killed. */
function exists({ row, fault }: Cell): boolean {
  if (fault === 'source QEMU') return row.guests !== 'target';
  if (fault === 'target QEMU') return row.guests !== 'source';
  return true;
}

/** The whole matrix; one fault after another in each row, so that no host is the victim all the time. */
export function allCells(rows: readonly Row[] = ROWS): Cell[] {
  return rows.flatMap((row) => FAULTS.map((fault) => ({ row, fault }))).filter(exists);
}

/** What becomes of the guest's memory: it goes on, it is lost and the guest starts anew, or both are right. */
export type Memory = 'same' | 'anew' | 'either';

/**
 * By the recovery table. Memory is lost where its only complete copy is killed; where the end of the transfer was told
 * and the target dies with its mark `finishing`, nobody can tell whether the guest ran there (the table's COLD cells).
 */
export function expectedMemory({ row, fault }: Cell): Memory {
  switch (fault) {
    case 'source QEMU':
      if (row.memory === 'source') return 'anew';
      // Nobody was told yet: whether the source's word is heard after its guest is gone is a matter of moments.
      return row.point === 'agent/transfer/ended' ? 'either' : 'same';
    case 'target QEMU':
      if (row.memory === 'target') return 'anew';
      return row.memory === 'sent' ? 'either' : 'same';
    case 'target agent':
      return row.point === 'agent/commit-target/finishing' ? 'either' : 'same';
    case 'target libvirtd':
      return row.memory === 'sent' ? 'either' : 'same';
    case 'scheduler':
    case 'source agent':
    case 'source libvirtd':
    case 'Consul leader':
    case 'source link':
    case 'target link':
    case 'SIGSTOP':
      return 'same';
  }
}
