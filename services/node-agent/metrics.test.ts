// SPDX-License-Identifier: Apache-2.0
import { NodeConditionType, VmState, WatchNodeRequest, type VmReport } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { createMemoryLogger } from '../platform/log/memory.js';
import { createPrometheusMetrics } from '../platform/metrics/prometheus.js';
import { agentMetrics } from './metrics.js';
import { call, overriding, TestBed } from './test-bed.js';

const prometheus = () => createPrometheusMetrics({ log: createMemoryLogger() });
const linesOf = (text: string, name: string) => text.split('\n').filter((line) => line.startsWith(name));

describe("an agent's metrics", () => {
  it('tell the memory of its node, its collectors and how late it is', async () => {
    const bed = new TestBed();
    const metrics = prometheus();
    const a = await bed.node('a', { metrics });
    const leave = new AbortController();
    const stream = a.service.watchNode(WatchNodeRequest.create({}), call(leave.signal));
    let messages = 0;
    void (async () => { for await (const message of stream) messages += Object.keys(message).length; })();
    await bed.clock.advance(12_000);
    leave.abort();
    expect(messages).toBeGreaterThan(0);
    const text = await metrics.text();
    expect(text).toContain(`lockstep_node_memory_bytes{kind="total"} ${a.host.info.memoryBytes}`);
    expect(text).toContain('lockstep_collector_age_seconds{collector="vms"}');
    expect(linesOf(text, 'lockstep_heartbeat_lateness_seconds_bucket{le="0.001",loop="tick"}')).toEqual([
      'lockstep_heartbeat_lateness_seconds_bucket{le="0.001",loop="tick"} 2',
    ]);
    expect(linesOf(text, 'lockstep_heartbeat_lateness_seconds_count{loop="heartbeat"}')).toHaveLength(1);
    expect(text).toContain('lockstep_heartbeat_lateness_seconds_bucket{le="0.001",loop="renewal"} 2');
    expect(text).toContain('lockstep_node_condition{condition="libvirt_down"} 0');
    await a.kill();
  });

  it('count a collector that runs out of time as such', async () => {
    const bed = new TestBed();
    const metrics = prometheus();
    const hanging = { list: () => new Promise<never>(() => undefined) };
    const a = await bed.node('a', { metrics, hypervisor: (real) => overriding(real, hanging) });
    await bed.clock.advance(4_000);
    const text = await metrics.text();
    expect(text).toContain('lockstep_collector_failures_total{collector="vms",why="timeout"} 1');
    expect(text).toContain('lockstep_node_condition{condition="libvirt_down"} 1');
    expect(a.agent.notLive()).toBe('');
    await a.kill();
  });

  it('show a VM in any state there is, and in one that there is not yet', async () => {
    const metrics = prometheus();
    const states = [...Object.values(VmState), 999 as VmState];
    const reports = states.map((state, index) => ({ vmId: `vm-${index}`, status: { state } }) as VmReport);
    const agent = agentMetrics(metrics);
    agent.show({ node: () => { throw new Error('not there'); }, vms: () => reports });
    const text = await metrics.text();
    expect(linesOf(text, 'lockstep_vm_state{')).toHaveLength(states.length);
    expect(text).toContain(`lockstep_vm_state{vm="vm-${states.length - 1}",state="unrecognized"} 1`);
    expect(text).toContain('lockstep_node_vms{state="migrating_live"} 1');
  });
});

describe('a tick', () => {
  it('writes one line, and nothing else is written while all is well', async () => {
    const bed = new TestBed();
    const a = await bed.node('a');
    await bed.clock.advance(10_000);
    const before = a.log.lines.length;
    await bed.clock.advance(15_000);
    const lines = a.log.lines.slice(before).filter(({ state }) => state !== 'd');
    expect(lines.map(({ state, task }) => `${state} ${task}`)).toEqual(['t keepalive', 't keepalive', 't keepalive']);
    expect(lines[0]?.message).toMatch(/^0 of 0 VMs run, [\d.]+ of [\d.]+ GiB used, load 0\.00, healthy$/);
    await a.kill();
  });

  it('says what is wrong, and that the event loop is held up', async () => {
    let delayMs = 0;
    const bed = new TestBed();
    const a = await bed.node('a', { loopDelayMs: () => delayMs });
    await bed.clock.advance(6_000);
    delayMs = 1_500;
    await bed.clock.advance(5_000);
    const { node } = await a.service.getNode({ header: undefined }, call());
    expect(node?.conditions).toMatchObject([{ type: NodeConditionType.LOOP_LAG, detail: expect.stringContaining('1500 ms') as string }]);
    expect(a.log.lines.filter(({ state }) => state === 't').at(-1)?.message).toContain('LOOP_LAG');
    delayMs = 0;
    await bed.clock.advance(5_000);
    expect((await a.service.getNode({ header: undefined }, call())).node?.conditions).toEqual([]);
    await a.kill();
  });
});

describe('readiness', () => {
  it('comes with the lease, and only with it', async () => {
    const bed = new TestBed();
    const refused = () => Promise.reject(new Error('the store is down'));
    const a = await bed.node('a');
    const b = await bed.node('b', { store: (real) => ({ ...real, acquire: refused }) });
    await bed.clock.advance(2_000);
    expect(a.agent.notReady()).toBe('');
    expect(b.agent.notReady()).toBe('STORE_LOST: the store is down');
    await a.kill();
    await b.kill();
  });
});
