// SPDX-License-Identifier: Apache-2.0
import { connect } from '@lockstep/sdk';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import { hostNamed, ports, signalPart, until } from '../../deploy/lab/api.js';
import { removeGuests, startGuest, type TestGuest } from './guest.js';
import { lab, lockstep, meshUp, ok, servers } from './mesh.js';

/** Far below what a call to the frozen QEMU would hang, far above what a good answer takes on a busy machine. */
const ANSWER_LIMIT_MS = 5_000;
const STREAM_LIMIT_MS = 30_000;
/** More than the agent's ticks hold: libvirt's calls to the frozen QEMU have all been begun by then. */
const ENOUGH_FRESH_FIGURES = 4;

const h1 = hostNamed(lab, 'h1');
const mesh = connect({ servers, deadlineMs: ANSWER_LIMIT_MS });

beforeAll(meshUp);
afterEach(removeGuests);
afterAll(() => {
  mesh.close();
});

/** Follows the stream of h1's agent until it has brought that many new figures of the guest. */
async function freshFigures(guest: TestGuest, wanted: number): Promise<void> {
  const stop = new AbortController();
  const limit = setTimeout(() => {
    stop.abort();
  }, STREAM_LIMIT_MS);
  const seen = new Set<bigint>();
  try {
    const agent = mesh.nodeAgent(`${h1.addresses.a}:${ports['node-agent']}`);
    for await (const { vms } of agent.watchNode({}, { signal: stop.signal })) {
      const report = vms.find((vm) => vm.vmId === guest.id);
      if (report?.status !== undefined) seen.add(report.status.cpuTimeNs);
      if (seen.size >= wanted) return;
    }
  } catch (error) {
    if (!stop.signal.aborted) throw error;
  } finally {
    clearTimeout(limit);
    stop.abort();
  }
  expect(seen.size, `the stream brought ${seen.size} figures of ${guest.name} in time`).toBeGreaterThanOrEqual(wanted);
}

it('a frozen QEMU hinders nobody but itself', async () => {
  const frozen = await startGuest('h1');
  const [other, leaving] = [await startGuest('h1'), await startGuest('h1')];
  signalPart(h1, `vm/${frozen.name}`, 'SIGSTOP');
  try {
    await freshFigures(other, ENOUGH_FRESH_FIGURES);

    const agent = mesh.nodeAgent(`${h1.addresses.a}:${ports['node-agent']}`);
    const { node, vms } = await agent.getNode({});
    expect(node?.ready, node?.notReadyReason).toBe(true);
    expect(vms.map(({ name }) => name).sort()).toEqual([frozen, other, leaving].map(({ name }) => name).sort());
    const { vms: listed } = await mesh.scheduler.listVms({});
    expect(listed.map(({ name }) => name)).toContain(frozen.name);
    expect(await ok('vm', 'list')).toContain(frozen.name);
    expect(await ok('node', 'list', '-o', 'name')).toContain('h1');

    await ok('vm', 'stop', other.name, '--force', '--wait', '--timeout', '60s');
    await ok('vm', 'start', other.name, '--wait', '--timeout', '60s');
    const moved = await lockstep('vm', 'migrate', leaving.name, 'h2', '--force-live', '--wait', '--timeout', '60s');
    expect(moved, moved.stderr).toMatchObject({ code: 0 });
    await leaving.runsOnlyOn('h2');
    await leaving.countsOn();
  } finally {
    signalPart(h1, `vm/${frozen.name}`, 'SIGCONT');
  }
  await frozen.countsOn();
  await until('its figures are fresh again', STREAM_LIMIT_MS, async () => {
    const before = (await mesh.scheduler.getVm({ vm: frozen.id })).vm?.status?.cpuTimeNs;
    await frozen.countsOn();
    const after = (await mesh.scheduler.getVm({ vm: frozen.id })).vm?.status?.cpuTimeNs;
    return after === before ? `the cluster still says ${String(after)} ns` : undefined;
  });
  const thawed = await lockstep('vm', 'migrate', frozen.name, 'h3', '--force-live', '--wait', '--timeout', '60s');
  expect(thawed, thawed.stderr).toMatchObject({ code: 0 });
  await frozen.runsOnlyOn('h3');
  await frozen.countsOn();
});
