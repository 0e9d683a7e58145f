// SPDX-License-Identifier: Apache-2.0
import { afterEach, describe, expect, it } from 'vitest';
import { VmState } from '@lockstep/sdk/v1';
import { createVirtualClock } from '../clock/virtual.js';
import { HypervisorError, type Hypervisor } from '../hypervisor/hypervisor.js';
import { measuredHypervisor } from '../hypervisor/measured.js';
import { createMemoryLogger } from '../log/memory.js';
import { measuredStore } from '../store/measured.js';
import { StoreError, type Store } from '../store/store.js';
import { enumLabels } from './enum-labels.js';
import { createPrometheusMetrics } from './prometheus.js';
import { serveMetrics, type MetricsServer } from './server.js';
import { timed } from './timed.js';

const prometheus = () => createPrometheusMetrics({ log: createMemoryLogger() });
const linesOf = (text: string, name: string) => text.split('\n').filter((line) => line.startsWith(name));

describe('metrics', () => {
  it('keep labels within their bounds', async () => {
    const metrics = prometheus();
    const gauge = metrics.gauge({ name: 'vms', help: 'h', labels: { vm: { most: 2 }, state: ['on', 'off'] } });
    for (let vm = 0; vm < 1_000; vm += 1) gauge.set({ vm: `v${vm}`, state: vm === 1 ? 'melted' : 'on' }, 1);
    expect(linesOf(await metrics.text(), 'vms{')).toEqual([
      'vms{vm="v0",state="on"} 1',
      'vms{vm="v1",state="other"} 1',
      'vms{vm="other",state="on"} 1',
    ]);
  });

  it('forget at a reset, and have room for others then', async () => {
    const metrics = prometheus();
    const gauge = metrics.gauge({ name: 'vms', help: 'h', labels: { vm: { most: 1 } } });
    gauge.set({ vm: 'gone' }, 1);
    gauge.reset();
    gauge.set({ vm: 'here' }, 1);
    expect(linesOf(await metrics.text(), 'vms{')).toEqual(['vms{vm="here"} 1']);
  });

  it('are the same ones when asked for again', async () => {
    const metrics = prometheus();
    for (let term = 0; term < 2; term += 1) metrics.counter({ name: 'terms_total', help: 'h' }).add({});
    expect(await metrics.text()).toContain('terms_total 2');
  });

  it('show the rest although some figures cannot be told', async () => {
    const metrics = prometheus();
    const gauge = metrics.gauge({ name: 'fine', help: 'h' });
    metrics.onScrape(() => { throw new Error('no such state'); });
    metrics.onScrape(() => { gauge.set({}, 7); });
    gauge.set({}, Number.NaN);
    const text = await metrics.text();
    expect(text).toContain('fine 7');
    expect(text).toContain('lockstep_scrape_failures_total 1');
  });
});

describe('labels of an enum', () => {
  const labels = enumLabels(VmState);

  it('exist for every value, each its own', () => {
    const given = Object.values(VmState).map((value) => labels.of(value));
    expect(new Set(given).size).toBe(new Set(Object.values(VmState)).size);
    expect(labels.of(VmState.MIGRATING_LIVE)).toBe('migrating_live');
    for (const label of given) expect(labels.all).toContain(label);
  });

  it('exist for what only a newer peer knows', () => {
    for (const value of [999, 'VM_STATE_NEW', undefined]) expect(labels.of(value)).toBe('unrecognized');
    expect(labels.all).toContain('unrecognized');
  });
});

describe('observed calls', () => {
  it('are timed with what came of them, and objects with private fields still work', async () => {
    const clock = createVirtualClock();
    class Machine {
      #turns = 0;
      async turn(times: number): Promise<number> {
        await Promise.resolve();
        if (times < 0) throw new Error('backwards');
        return (this.#turns += times);
      }
      get turns(): number {
        return this.#turns;
      }
    }
    const seen: [string, boolean][] = [];
    const machine = timed(new Machine(), {
      calls: ['turn'],
      nowMs: () => clock.nowMs(),
      observe: (call, _tookMs, error) => seen.push([call, error === undefined]),
    });
    expect(await machine.turn(2)).toBe(2);
    await expect(machine.turn(-1)).rejects.toThrow('backwards');
    expect(machine.turns).toBe(2);
    expect(seen).toEqual([['turn', true], ['turn', false]]);
  });

  it('of the hypervisor are counted by call and outcome', async () => {
    const metrics = prometheus();
    const broken = {
      list: () => Promise.resolve([]),
      start: () => Promise.reject(new HypervisorError('refused', 'no')),
      openIncoming: () => Promise.resolve({ finish: () => Promise.resolve({}) }),
    } as unknown as Hypervisor;
    const hypervisor = measuredHypervisor(broken, metrics, createVirtualClock());
    await hypervisor.list({ deadlineMs: 1 });
    await expect(hypervisor.start('u', { deadlineMs: 1 })).rejects.toThrow('no');
    const incoming = await hypervisor.openIncoming('u', { deadlineMs: 1 });
    await incoming.finish({ cookie: new Uint8Array() }, { deadlineMs: 1 });
    const counts = linesOf(await metrics.text(), 'lockstep_hypervisor_call_seconds_count');
    expect(counts).toEqual([
      'lockstep_hypervisor_call_seconds_count{call="list",outcome="ok"} 1',
      'lockstep_hypervisor_call_seconds_count{call="start",outcome="refused"} 1',
      'lockstep_hypervisor_call_seconds_count{call="openIncoming",outcome="ok"} 1',
      'lockstep_hypervisor_call_seconds_count{call="finish",outcome="ok"} 1',
    ]);
  });

  it('of the store are counted where they fail', async () => {
    const metrics = prometheus();
    const lost = () => Promise.reject(new StoreError('unavailable', 'no leader'));
    const store = measuredStore({ get: lost, acquire: lost } as unknown as Store, metrics, createVirtualClock());
    await expect(store.get('k')).rejects.toThrow('no leader');
    await expect(store.acquire({} as Parameters<Store['acquire']>[0])).rejects.toThrow('no leader');
    const text = await metrics.text();
    expect(text).toContain('lockstep_store_failures_total{call="get",kind="unavailable"} 1');
    expect(text).toContain('lockstep_store_failures_total{call="acquire",kind="unavailable"} 1');
  });
});

describe('the server', () => {
  let server: MetricsServer | undefined;
  afterEach(() => server?.close());

  it('tells figures, life and readiness, and nothing else', async () => {
    let trouble = 'no leader is known';
    const metrics = prometheus();
    metrics.counter({ name: 'seen_total', help: 'h' }).add({});
    server = await serveMetrics({ listen: '127.0.0.1:0', metrics, notLive: () => '', notReady: () => trouble });
    const get = async (path: string, method = 'GET') => {
      const answer = await fetch(`http://${server?.address ?? ''}${path}`, { method });
      return { status: answer.status, text: await answer.text() };
    };
    expect((await get('/metrics')).text).toContain('seen_total 1');
    expect(await get('/livez')).toEqual({ status: 200, text: 'ok\n' });
    expect(await get('/readyz')).toEqual({ status: 503, text: 'no leader is known\n' });
    trouble = '';
    expect(await get('/readyz?verbose')).toEqual({ status: 200, text: 'ok\n' });
    expect((await get('/')).status).toBe(404);
    expect((await get('/metrics', 'POST')).status).toBe(405);
  });
});
