// SPDX-License-Identifier: Apache-2.0
import { SchedulerServiceDefinition, type SchedulerServiceImplementation } from '@lockstep/sdk/v1';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { LockstepError } from '../../core/errors/catalogue.js';
import { systemClock } from '../clock/system.js';
import { callerOf } from './caller.js';
import { forwardToLeader, type LeaderLocation } from './forward.js';
import { implement, type RpcServer } from './server.js';
import { aborted, type Bench, createBench } from './testing/bench.js';

let bench: Bench;
beforeEach(() => {
  bench = createBench();
});
afterEach(() => bench.close());

/** A replica that answers with `methods` where it leads; `leader` may be changed while it runs. */
async function replica(methods: Partial<SchedulerServiceImplementation>, start: LeaderLocation) {
  const state = { leader: start };
  const peers = bench.peers();
  const forwarding = forwardToLeader(SchedulerServiceDefinition, implement(SchedulerServiceDefinition, methods), {
    clock: systemClock,
    local: ['getCluster'],
    leader: () => state.leader,
    client: (address) => peers.scheduler(address),
  });
  return { server: await bench.scheduler(forwarding), state };
}

function schedulerAt({ address }: RpcServer) {
  return bench.peers().scheduler(address);
}

it('answers where it leads, and forwards unary calls and streams elsewhere', async () => {
  const leader = await replica(
    {
      getVm: ({ vm }, context) => Promise.resolve({ vm: { name: vm, id: callerOf(context).name } }),
      async *watchVms() {
        for (const resumeToken of ['1', '2']) yield await Promise.resolve({ resumeToken });
      },
    },
    { self: true },
  );
  const follower = await replica({}, { address: leader.server.address });
  const scheduler = schedulerAt(follower.server);
  expect((await scheduler.getVm({ vm: 'counter' })).vm).toMatchObject({
    name: 'counter',
    id: expect.stringMatching(/^127\.0\.0\.1:\d+ via 127\.0\.0\.1:\d+$/) as string,
  });
  const tokens: string[] = [];
  for await (const { resumeToken } of scheduler.watchVms({})) tokens.push(resumeToken);
  expect(tokens).toEqual(['1', '2']);
});

it('answers local methods itself', async () => {
  const follower = await replica({ getCluster: () => Promise.resolve({ cluster: { version: 'mine' } }) }, undefined);
  expect((await schedulerAt(follower.server).getCluster({})).cluster?.version).toBe('mine');
});

it('brings the leader’s refusal through as it is', async () => {
  const refuse = new LockstepError('SAME_NODE', 'counter is on h2 already', { vm: 'counter' });
  const leader = await replica({ createMigration: () => Promise.reject(refuse) }, { self: true });
  const follower = await replica({}, { address: leader.server.address });
  await expect(schedulerAt(follower.server).createMigration({ vm: 'counter' })).rejects.toMatchObject({
    reason: 'SAME_NODE',
    message: 'counter is on h2 already',
    metadata: { vm: 'counter' },
  });
});

it('says NO_LEADER where nobody leads, unary and stream', async () => {
  const { server } = await replica({}, undefined);
  await expect(schedulerAt(server).getVm({})).rejects.toMatchObject({ reason: 'NO_LEADER' });
  const watch = schedulerAt(server).watchVms({})[Symbol.asyncIterator]();
  await expect(watch.next()).rejects.toMatchObject({ reason: 'NO_LEADER' });
});

it('says why where a replica cannot know who leads', async () => {
  const trouble = new LockstepError('STORE_DENIED', 'the store refused the token', { field: 'consul.token_file' });
  const { server } = await replica({}, { trouble });
  await expect(schedulerAt(server).getVm({})).rejects.toMatchObject({
    reason: 'NO_LEADER',
    message: 'this replica cannot tell who leads (STORE_DENIED): the store refused the token',
    metadata: { field: 'consul.token_file', trouble: 'STORE_DENIED' },
  });
});

it('forwards once: two replicas that take each other for the leader do not loop', async () => {
  const one = await replica({}, undefined);
  const two = await replica({}, { address: one.server.address });
  one.state.leader = { address: two.server.address };
  await expect(schedulerAt(one.server).getVm({})).rejects.toMatchObject({ reason: 'NOT_LEADER' });
});

it('passes the caller’s deadline on', async () => {
  let leftMs = 0;
  let ended: Promise<void> | undefined;
  const leader = await replica(
    {
      getVm: async (_request, context) => {
        leftMs = (callerOf(context).deadlineAtMs ?? 0) - systemClock.nowMs();
        ended = aborted(context.signal);
        await ended;
        return {};
      },
    },
    { self: true },
  );
  const follower = await replica({}, { address: leader.server.address });
  await expect(schedulerAt(follower.server).getVm({}, { deadlineMs: 400 })).rejects.toMatchObject({ reason: 'DEADLINE' });
  expect(leftMs).toBeGreaterThan(0);
  expect(leftMs).toBeLessThanOrEqual(401);
  await ended;
});

it('ends the leader’s stream when the caller leaves', async () => {
  let ended: Promise<void> | undefined;
  const leader = await replica(
    {
      async *watchVms(_request, { signal }) {
        ended = aborted(signal);
        yield {};
        await ended;
      },
    },
    { self: true },
  );
  const follower = await replica({}, { address: leader.server.address });
  for await (const message of schedulerAt(follower.server).watchVms({})) if (message.gone.length === 0) break;
  await ended;
});

it('tells what may be repeated from what may have been done when the leader vanishes', async () => {
  const leader = await replica({}, { self: true });
  const follower = await replica({}, { address: leader.server.address });
  await leader.server.close(0);
  const scheduler = schedulerAt(follower.server);
  await expect(scheduler.getVm({})).rejects.toMatchObject({ reason: 'NO_LEADER' });
  await expect(scheduler.updateVm({})).rejects.toMatchObject({ reason: 'OUTCOME_UNKNOWN' });
});

it('leaves the leader’s word about an unreachable node alone', async () => {
  const lost = new LockstepError('NODE_UNREACHABLE', 'h3 does not answer', { node: 'h3', address: '10.0.0.3:7701' });
  const leader = await replica({ getNode: () => Promise.reject(lost) }, { self: true });
  const follower = await replica({}, { address: leader.server.address });
  await expect(schedulerAt(follower.server).getNode({})).rejects.toMatchObject({
    reason: 'NODE_UNREACHABLE',
    metadata: { node: 'h3' },
  });
});
