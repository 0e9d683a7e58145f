// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { admit, type AdmissionInput } from './admission.js';
import { MIGRATION_PRIORITY } from './priority.js';

const WIDE = { perCluster: 100, outPerNode: 100, inPerNode: 100 };
const { REBALANCE, USER, DRAIN } = MIGRATION_PRIORITY;

let count = 0;

function move(sourceNode: string, targetNode: string, priority: number = USER): AdmissionInput['waiting'][number] {
  const id = String((count += 1)).padStart(6, '0');
  return { id, vmId: `vm-${id}`, sourceNode, targetNode, priority };
}

function admitted(input: Partial<AdmissionInput> & Pick<AdmissionInput, 'waiting'>): string[] {
  return admit({ open: [], limits: WIDE, obstacleAt: () => undefined, ...input }).admitted;
}

const ids = (moves: readonly { id: string }[]): string[] => moves.map(({ id }) => id);

describe('the queue admits', () => {
  it('what is urgent before what was asked for, and that before what only tidies up', () => {
    const waiting = [move('a', 'b', REBALANCE), move('a', 'b'), move('a', 'b', DRAIN), move('c', 'b', DRAIN)];
    expect(admitted({ waiting })).toEqual([waiting[2], waiting[3], waiting[1], waiting[0]].map((one) => one?.id));
  });

  it('sources in turn, however many one of them has', () => {
    const many = Array.from({ length: 5 }, () => move('a', 'b'));
    const late = move('c', 'b');
    const limits = { ...WIDE, perCluster: 2 };
    expect(admitted({ waiting: [...many, late], limits })).toEqual([many[0]?.id, late.id]);
    expect(admitted({ waiting: [...many, late], open: [move('a', 'b')], limits })).toEqual([late.id]);
  });

  it('as many as a node may send, may take, and the cluster may move', () => {
    const waiting = Array.from({ length: 5 }, () => move('a', 'b'));
    expect(admitted({ waiting, limits: { ...WIDE, outPerNode: 2 } })).toEqual(ids(waiting.slice(0, 2)));
    expect(admitted({ waiting, limits: { ...WIDE, inPerNode: 3 } })).toEqual(ids(waiting.slice(0, 3)));
    expect(admitted({ waiting, limits: { ...WIDE, perCluster: 1 }, open: [move('x', 'y')] })).toEqual([]);
  });

  it('who can begin, past one that cannot', () => {
    const waiting = [move('a', 'gone', DRAIN), move('a', 'b')];
    const obstacleAt = (node: string): string | undefined => (node === 'gone' ? 'the agent of gone does not answer' : undefined);
    const answer = admit({ waiting, open: [], limits: WIDE, obstacleAt });
    expect(answer.admitted).toEqual([waiting[1]?.id]);
    expect(answer.held).toEqual([{ id: waiting[0]?.id, reason: 'the agent of gone does not answer' }]);
  });

  it('one migration of a VM at a time', () => {
    const first = move('a', 'b');
    const second = { ...move('b', 'c'), vmId: first.vmId };
    expect(admitted({ waiting: [first, second] })).toEqual([first.id]);
  });
});
