// SPDX-License-Identifier: Apache-2.0
import { ApiError, connect, FenceActionState, FenceDrillState, NodeJudgement, VmState, type FenceAction, type Lockstep } from '@lockstep/sdk';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { startDevCluster, type DevCluster } from '../../services/dev/cluster.js';
import { createMemoryLogger } from '../../services/platform/log/memory.js';

// A host dies in the whole mesh on the embedded parts: what a user of the API sees of it, from judgement to proof.

const LIMIT_MS = 120_000;

let cluster: DevCluster;
let lockstep: Lockstep;
let fencer: Awaited<ReturnType<Lockstep['fencer']>>;

beforeAll(async () => {
  cluster = await startDevCluster({
    nodes: 3,
    log: createMemoryLogger(),
    fencing: { timings: { judgement: { throwMs: 1_000 } } },
  });
  lockstep = connect({ servers: [cluster.scheduler] });
  await vi.waitFor(
    async () => {
      fencer = await lockstep.fencer();
      const { nodes } = await fencer.listEvidence({});
      expect(nodes.filter(({ judgement }) => judgement === NodeJudgement.ALIVE)).toHaveLength(3);
    },
    { timeout: LIMIT_MS, interval: 250 },
  );
}, LIMIT_MS);

afterAll(async () => {
  lockstep.close();
  await cluster.close();
});

async function reason(call: Promise<unknown>): Promise<string> {
  const error: unknown = await call.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof ApiError)) throw new Error('it was not refused');
  return error.reason;
}

describe('what is wrong in itself is refused and changes nothing (INV-7)', () => {
  it('with the reason and the field', async () => {
    expect(await reason(fencer.createFenceAction({ requestId: 'r', node: 'n1', reason: ' ' }))).toBe('INVALID_FIELD');
    expect(await reason(fencer.createFenceAction({ requestId: 'r', node: 'n9', reason: 'x' }))).toBe('NODE_NOT_FOUND');
    expect(await reason(fencer.acknowledgeDead({ node: 'n1', confirmNode: 'n2', reason: 'x' }))).toBe('INVALID_FIELD');
    expect(await reason(fencer.acknowledgeDead({ node: 'n1', confirmNode: 'n1', reason: 'x' }))).toBe('NODE_ALIVE');
    expect(await reason(fencer.getFenceAction({ id: 'none' }))).toBe('FENCE_ACTION_NOT_FOUND');
    expect(await reason(fencer.disarm({ reason: 'x' }))).toBe('INVALID_FIELD');
    expect((await fencer.listFenceActions({})).fenceActions).toEqual([]);
  });
});

describe('a host that dies', () => {
  it('is judged dead, powered off, proven, and handed to the Scheduler; all of it is seen', async () => {
    const { vm } = await lockstep.scheduler.defineVm({
      spec: {
        domainXml: `<domain type='kvm'><name>web</name><memory unit='MiB'>64</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>`,
      },
      node: 'n2',
      start: true,
    });
    await lockstep.waitForVm(vm?.id ?? '', [VmState.RUNNING]);
    await cluster.power('n2', 'off');

    const action = await vi.waitFor(
      async (): Promise<FenceAction> => {
        const [newest] = (await fencer.listFenceActions({})).fenceActions;
        expect(newest?.state).toBe(FenceActionState.CONFIRMED);
        if (newest === undefined) throw new Error('no fence action');
        return newest;
      },
      { timeout: LIMIT_MS, interval: 250 },
    );
    expect(action).toMatchObject({ node: 'n2', automatic: true, incarnation: 1n });
    expect(action.attempts.map(({ rung }) => rung)).toEqual(['read-power', 'stop-vms', 'power-off', 'read-back']);
    expect(action.attempts.at(-1)).toMatchObject({ proven: true });
    expect(cluster.bmcs.get('n2')?.power).toBe('off');
    const { evidence } = await fencer.getEvidence({ node: 'n2' });
    expect(evidence?.judgement).toBe(NodeJudgement.DEAD_PROVEN);
    expect((await lockstep.scheduler.getNode({ name: 'n2' })).node?.fencedBy).toBe(action.id);

    await vi.waitFor(
      () => {
        const running = [...cluster.hosts.values()].filter((host) => host.guest(vm?.id ?? '')?.state.state === 'running');
        expect(running.map(({ name }) => name)).not.toContain('n2');
        expect(running).toHaveLength(1);
      },
      { timeout: LIMIT_MS, interval: 250 },
    );
    await vi.waitFor(
      async () => {
        const { events } = await lockstep.scheduler.listEvents({ subject: 'nodes/n2' });
        const told = events.map((event) => event.reason);
        expect(told).toEqual(expect.arrayContaining(['JUDGED_DEAD', 'PROVEN_OFF', 'RECOVERY_BEGUN']));
      },
      { timeout: LIMIT_MS, interval: 250 },
    );
    expect((await lockstep.scheduler.getCluster({})).cluster?.fenceActionsOpen).toBe(0);
  }, 3 * LIMIT_MS);

  it('joins again, and the proof is gone', async () => {
    await cluster.power('n2', 'on');
    await vi.waitFor(
      async () => {
        const { node } = await lockstep.scheduler.getNode({ name: 'n2' });
        expect(node).toMatchObject({ fencedBy: '', ready: true });
        expect((await fencer.getEvidence({ node: 'n2' })).evidence?.judgement).toBe(NodeJudgement.ALIVE);
      },
      { timeout: LIMIT_MS, interval: 250 },
    );
  }, 2 * LIMIT_MS);
});

describe('the ladder is tried before it is needed', () => {
  it('and a BMC with another password fails the test, not the fence', async () => {
    // A peer that has not spoken for a moment, as on a busy machine, is not asked.
    const good = await vi.waitFor(
      async () => {
        const tested = await fencer.testFencing({ node: 'n3' });
        expect(tested.attempts).toHaveLength(4);
        return tested;
      },
      { timeout: 20_000, interval: 500 },
    );
    expect(good.detail).toBe('every rung works');
    expect(good.attempts.map(({ rung, observer, proven }) => [rung, observer, proven])).toEqual([
      ['stop-vms', '', true],
      ['read-power', '', true],
      ['check-bmc', 'n1', true],
      ['check-bmc', 'n2', true],
    ]);
    const bmc = cluster.bmcs.get('n3');
    if (bmc === undefined) throw new Error('n3 has no BMC');
    bmc.mode = 'wrong-password';
    const bad = await fencer.testFencing({ node: 'n3' });
    expect(bad.detail).toContain('does not accept user and password');
    const { evidence } = await fencer.getEvidence({ node: 'n3' });
    expect(evidence?.lastDrill).toMatchObject({ state: FenceDrillState.FAILED, detail: bad.detail });
    bmc.mode = 'up';
    expect(await reason(fencer.testFencing({ node: 'n3', powerCycle: true }))).toBe('NODE_NOT_EMPTY');
    expect(bmc.power).toBe('on');
  });
});

describe('disarming', () => {
  it('is shown, refuses fencing, and ends', async () => {
    await fencer.disarm({ mode: 1, reason: 'work on the network' });
    expect((await lockstep.scheduler.getCluster({})).cluster?.arming).toMatchObject({ mode: 1, reason: 'work on the network' });
    expect(await reason(fencer.createFenceAction({ requestId: 'r', node: 'n1', reason: 'x' }))).toBe('FENCER_DISARMED');
    await fencer.arm({});
    expect((await lockstep.scheduler.getCluster({})).cluster?.arming?.mode).toBe(0);
  });
});
