// SPDX-License-Identifier: Apache-2.0
import {
  ApplyVmRequest,
  LeaderRole,
  MigrationRole,
  NodeAgentServiceGetNodeRequest,
  OrderHeader,
  SeizeRequest,
  VmDesired,
} from '@lockstep/sdk/v1';
import { beforeEach, describe, expect, it } from 'vitest';
import { leaderCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { call, overriding, spec, TestBed, VM, type TestNode } from './test-bed.js';
import { SOURCE_EPOCH, TestLeader } from './test-leader.js';

const { SOURCE } = MigrationRole;
const ORDER = { vmId: VM, placementEpoch: 1n, migrationId: '' };

let bed: TestBed;
let a: TestNode;

beforeEach(async () => {
  bed = new TestBed();
  a = await bed.node('a');
});

function apply(header: Partial<OrderHeader> | undefined, order = ORDER): Promise<unknown> {
  const request = ApplyVmRequest.create({
    header: header === undefined ? undefined : OrderHeader.create(header),
    order,
    desired: VmDesired.RUNNING,
    spec: spec(),
  });
  return bed.run(Promise.resolve(a.service.applyVm(request, call())));
}

describe('the guard at the head of every order', () => {
  it('refuses a leader that was followed by another one, even after a restart of the agent', async () => {
    const old = new TestLeader(bed, 4n);
    await new TestLeader(bed, 5n).seize(a, SOURCE);
    await expect(old.apply(a, SOURCE_EPOCH)).rejects.toMatchObject({ reason: 'STALE_EPOCH' });
    await expect(old.seize(a, SOURCE)).rejects.toMatchObject({ reason: 'STALE_EPOCH' });
    await a.kill();
    await a.restart();
    await expect(old.apply(a, SOURCE_EPOCH)).rejects.toMatchObject({ reason: 'STALE_EPOCH' });
    expect(a.host.guests()).toEqual([]);
  });

  it('keeps each role its own epoch', async () => {
    await new TestLeader(bed, 9n).seize(a, SOURCE);
    const header = OrderHeader.create({ leaderRole: LeaderRole.FENCER, leaderEpoch: 2n });
    const request = SeizeRequest.create({ header, order: ORDER });
    await bed.run(Promise.resolve(a.service.seize(request, call())));
  });

  it('knows from its joining which leaders the store knew, although none spoke to it', async () => {
    const leader = leaderCodec.encode({ role: LeaderRole.SCHEDULER, name: 'x', address: 'x:7702', leaderEpoch: 7n });
    await bed.store.txn([{ op: 'set', key: keys.leader('scheduler'), value: leader }]);
    const b = await bed.node('b');
    await expect(new TestLeader(bed, 6n).seize(b, SOURCE)).rejects.toMatchObject({ reason: 'STALE_EPOCH' });
    await new TestLeader(bed, 7n).seize(b, SOURCE);
  });

  it('refuses orders for an earlier life of the agent; a question may not know it yet', async () => {
    const before = await bed.header(a);
    await a.kill();
    await a.restart();
    await expect(apply(before)).rejects.toMatchObject({ reason: 'WRONG_INCARNATION', metadata: { want: '2' } });
    await expect(apply({ ...before, incarnation: 0n })).rejects.toMatchObject({ reason: 'WRONG_INCARNATION' });
    const question = SeizeRequest.create({ header: { ...before, incarnation: 0n }, order: ORDER });
    const answer = await bed.run(Promise.resolve(a.service.seize(question, call())));
    expect(answer.incarnation).toBe(2n);
  });

  it.each([
    ['no header', undefined, ORDER, 'WRONG_INCARNATION', undefined],
    ['no role', { leaderEpoch: 1n, incarnation: 1n }, ORDER, 'INVALID_FIELD', 'header.leader_role'],
    ['no epoch', { leaderRole: LeaderRole.SCHEDULER, incarnation: 1n }, ORDER, 'INVALID_FIELD', 'header.leader_epoch'],
    ['a VM that is no UUID', {}, { ...ORDER, vmId: '../x' }, 'INVALID_FIELD', 'order.vm_id'],
    ['no placement epoch', {}, { ...ORDER, placementEpoch: 0n }, 'INVALID_FIELD', 'order.placement_epoch'],
  ])('refuses %s, and changes nothing', async (_what, header, order, reason, field) => {
    const refusal = { reason, ...(field === undefined ? {} : { metadata: { field } }) };
    await expect(apply(header, order)).rejects.toMatchObject(refusal);
    expect(a.host.guests()).toEqual([]);
  });

  it('answers an epoch only once it is on disk', async () => {
    const save = a.state.save.bind(a.state);
    let release: () => void = () => undefined;
    a.state.save = async (document) => {
      await new Promise<void>((resolve) => {
        release = resolve;
      });
      await save(document);
    };
    let answered = false;
    const seizing = new TestLeader(bed, 5n).seize(a, SOURCE).then(() => {
      answered = true;
    });
    await bed.clock.advance(2_000);
    expect(answered).toBe(false);
    // The old leader is powerless from the moment its successor was heard, not only once that was written.
    await expect(apply(await bed.header(a, 4n))).rejects.toMatchObject({ reason: 'STALE_EPOCH' });
    release();
    await bed.run(seizing);
    expect(await a.state.load()).toContain('"scheduler":"5"');
  });
});

describe('an agent that has not joined', () => {
  it('serves, says why, refuses orders, and joins when it can', async () => {
    let down = true;
    const late = await bed.node('late', {
      store: (real) =>
        overriding(real, {
          get: (key, options) => (down ? Promise.reject(new Error('no server')) : real.get(key, options)),
        }),
    });
    await bed.clock.advance(20_000);
    const { node } = await Promise.resolve(late.service.getNode(NodeAgentServiceGetNodeRequest.create({}), call()));
    expect(node).toMatchObject({ name: 'late', ready: false, incarnation: 0n });
    expect(node?.notReadyReason).toMatch(/NOT_JOINED.*no server/);
    await expect(new TestLeader(bed).seize(late, SOURCE)).rejects.toMatchObject({ reason: 'NOT_JOINED' });
    down = false;
    await bed.clock.advance(10_000);
    await new TestLeader(bed).seize(late, SOURCE);
  });
});
