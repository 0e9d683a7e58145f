// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { createServer, type AddressInfo, type Server } from 'node:net';
import { connect, VmState, type Lockstep } from '@lockstep/sdk';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { startDevCluster, type DevCluster } from '../../services/dev/cluster.js';
import { createMemoryLogger } from '../../services/platform/log/memory.js';
import { startProgram, type Ended } from './cli-process.js';
import { domainXml, runsOn, untilReady } from './dead-host.js';

// `lockstep cluster drill` as a person runs it, against the whole mesh on the embedded parts.

const LIMIT_MS = 120_000;

interface Report {
  node: string;
  passed: boolean;
  commandMs?: number;
  detectionMeasured: boolean;
  suspected?: { afterMs: number; rule: string };
  proven?: { afterMs: number; rung: string };
  vms: { name: string; expected: string; state: string; node: string; afterMs?: number; reason: string }[];
  back?: { afterMs: number };
}

let cluster: DevCluster;
let lockstep: Lockstep;
/** Connecting to it kills n2: the dev cluster's hosts are no processes that a command could kill. */
let trigger: Server;

beforeAll(async () => {
  cluster = await startDevCluster({
    nodes: 3,
    log: createMemoryLogger(),
    memoryBytes: 2n << 30n,
    fencing: { timings: { judgement: { throwMs: 1_000 } } },
  });
  lockstep = connect({ servers: [cluster.scheduler] });
  await untilReady(lockstep, 3);
  trigger = createServer((socket) => {
    void cluster.power('n2', 'off').then(() => socket.end());
  });
  await new Promise<void>((resolve) => trigger.listen(0, '127.0.0.1', resolve));
}, LIMIT_MS);

afterAll(async () => {
  trigger.close();
  lockstep.close();
  await cluster.close();
});

const drill = async (...args: string[]): Promise<Ended> =>
  await startProgram(['cluster', 'drill', ...args], { LOCKSTEP_SERVER: cluster.scheduler }).ended;

function killCommand(): string {
  const { port } = trigger.address() as AddressInfo;
  return `"${process.execPath}" -e 'require("net").connect(${String(port)}, "127.0.0.1").resume()'`;
}

/** The simulated BMC takes the power of the guests alone: the agent is a part of this process, and ends here. */
async function endWithItsPower(node: string): Promise<void> {
  await vi.waitFor(() => { expect(cluster.bmcs.get(node)?.power).toBe('off'); }, { timeout: LIMIT_MS });
  await cluster.power(node, 'off');
}

async function define(name: string, node: string, start: boolean, memoryMib = 64): Promise<string> {
  const { vm } = await lockstep.scheduler.defineVm({ spec: { domainXml: domainXml(name, { memoryMib }) }, node, start });
  const id = vm?.id ?? '';
  await lockstep.waitForVm(id, [start ? VmState.RUNNING : VmState.STOPPED]);
  return id;
}

describe('a drill of a node', () => {
  it('is refused before anything is done where the cluster is not fit for it', async () => {
    await define('kept', 'n2', true);
    const refused = async (code: number, reason: string, ...args: string[]): Promise<void> => {
      const ended = await drill('n2', '--confirm', 'n2', '--kill', killCommand(), ...args);
      expect(ended.stderr).toContain(`reason: ${reason}`);
      expect(ended.stderr).toContain('next: ');
      expect(ended).toMatchObject({ code, stdout: '' });
      expect((await lockstep.scheduler.getNode({ name: 'n2' })).node?.ready).toBe(true);
    };
    await refused(2, 'CONFIRM_DIFFERS', '--confirm', 'n3');
    const unknown = await drill('n9', '--confirm', 'n9');
    expect(unknown).toMatchObject({ code: 3, stdout: '' });

    const fencer = await lockstep.fencer();
    await fencer.disarm({ mode: 1, reason: 'work on the network' });
    await refused(4, 'FENCER_DISARMED');
    await fencer.arm({});

    const bmc = cluster.bmcs.get('n2');
    if (bmc === undefined) throw new Error('n2 has no BMC');
    bmc.mode = 'wrong-password';
    await refused(4, 'NOT_FENCEABLE');
    bmc.mode = 'up';

    // By a person's wish, which the brake does not count.
    await fencer.createFenceAction({ requestId: randomUUID(), node: 'n3', reason: 'a test' });
    await endWithItsPower('n3');
    await untilReady(lockstep, 2);
    await vi.waitFor(
      async () => { expect((await lockstep.scheduler.getNode({ name: 'n3' })).node?.fencedBy).not.toBe(''); },
      { timeout: LIMIT_MS },
    );
    await refused(4, 'OTHER_NODE_DOWN');
    await cluster.power('n3', 'on');
    await untilReady(lockstep, 3);
  }, 4 * LIMIT_MS);

  it('says what would happen, and does nothing, with --dry-run', async () => {
    const ended = await vi.waitFor(
      async () => {
        const dry = await drill('n2', '--dry-run', '-o', 'json');
        expect(dry.code).toBe(0);
        return dry;
      },
      { timeout: LIMIT_MS, interval: 500 },
    );
    const report = JSON.parse(ended.stdout) as Report;
    expect(report).toMatchObject({ node: 'n2', passed: false, vms: [{ name: 'kept', expected: 'runs', state: 'RUNNING', node: 'n2' }] });
    expect(report.proven).toBeUndefined();
    expect((await lockstep.scheduler.getNode({ name: 'n2' })).node?.ready).toBe(true);
  }, 2 * LIMIT_MS);

  it('kills it by a command and measures suspicion, proof, every VM, and its return', async () => {
    const web = await define('web', 'n2', true);
    await define('asleep', 'n2', false);
    const running = startProgram(
      ['cluster', 'drill', 'n2', '--confirm', 'n2', '--kill', killCommand(), '--wait-back', '--timeout', '2m', '-o', 'json'],
      { LOCKSTEP_SERVER: cluster.scheduler },
    );
    await running.says('web runs on');
    await running.says('kept runs on');
    await cluster.power('n2', 'on');
    const ended = await running.ended;
    expect(ended.stderr).not.toContain('reason:');
    const report = JSON.parse(ended.stdout) as Report;
    expect(ended.code).toBe(0);
    expect(report).toMatchObject({ passed: true, detectionMeasured: true });
    const of = (name: string) => report.vms.find((vm) => vm.name === name);
    expect(of('web')).toMatchObject({ expected: 'runs', state: 'RUNNING' });
    expect(of('asleep')).toMatchObject({ expected: 'stays off' });
    expect(report.vms.map(({ node }) => node)).not.toContain('n2');
    expect(runsOn(cluster, web)).toEqual([of('web')?.node]);
    // In the order of cause and effect, all from the kill on.
    const suspected = report.suspected?.afterMs ?? Number.NaN;
    const proven = report.proven?.afterMs ?? Number.NaN;
    const started = of('web')?.afterMs ?? Number.NaN;
    expect(suspected).toBeGreaterThan(0);
    expect(proven).toBeGreaterThanOrEqual(suspected);
    expect(started).toBeGreaterThan(suspected);
    expect(report.back?.afterMs).toBeGreaterThanOrEqual(started);
    expect(report.proven?.rung).toMatch(/^(read-power|read-back)$/);
  }, 3 * LIMIT_MS);

  it('fails where nobody misses the node, as the command did not kill it, and waits no longer for a command that never ends', async () => {
    await untilReady(lockstep, 3);
    const ended = await drill('n2', '--confirm', 'n2', '--kill', 'sleep 600', '--timeout', '5s');
    expect(ended.code).toBe(1);
    expect(ended.stdout).toContain('not yet');
    expect(ended.stderr).toContain('reason: NOT_SUSPECTED');
    expect(ended.stderr).toContain('next:   lockstep fence evidence n2');
  }, LIMIT_MS);

  it('powers it off by the Fencer where no command is given, and measures no detection', async () => {
    const [ended] = await Promise.all([drill('n3', '--confirm', 'n3', '-o', 'json'), endWithItsPower('n3')]);
    expect(ended.stderr).not.toContain('reason:');
    const report = JSON.parse(ended.stdout) as Report;
    expect(report).toMatchObject({ passed: true, detectionMeasured: false, proven: { rung: 'read-back' } });
    expect(report.suspected).toBeUndefined();
    await cluster.power('n3', 'on');
    await untilReady(lockstep, 3);
  }, 2 * LIMIT_MS);

  it('fails with the reason of a VM that is not running again in time', async () => {
    // Of 1.5 GiB on each of the others so much is taken that each of two VMs fits, and not both.
    await define('full', 'n1', true, 1_000);
    await define('fuller', 'n3', true, 1_000);
    await define('first', 'n2', true, 300);
    await define('second', 'n2', true, 300);
    await define('third', 'n2', true, 300);
    const ended = await drill('n2', '--confirm', 'n2', '--kill', killCommand(), '--timeout', '40s', '-o', 'json');
    const report = JSON.parse(ended.stdout) as Report;
    expect(report.passed).toBe(false);
    const left = report.vms.filter(({ afterMs }) => afterMs === undefined);
    expect(left).toHaveLength(1);
    expect(left[0]).toMatchObject({ state: 'WAITING_TARGET', reason: 'NO_TARGET' });
    expect(ended.code).toBe(1);
    expect(ended.stderr).toContain('reason: NO_TARGET');
    expect(ended.stderr).toContain(`next:   lockstep vm show ${left[0]?.name ?? ''}`);
  }, 2 * LIMIT_MS);
});
