// SPDX-License-Identifier: Apache-2.0
import { describe, expect, it } from 'vitest';
import { createVirtualClock } from '../clock/virtual.js';
import { createMemoryLogger } from '../log/memory.js';
import { createNotifier, keepAlive } from './notify.js';

const PID = 42;
const WATCHED = { NOTIFY_SOCKET: '/run/notify', WATCHDOG_USEC: '3000000', WATCHDOG_PID: String(PID) };

function world(environment: Record<string, string>, failing = false) {
  const clock = createVirtualClock();
  const log = createMemoryLogger(() => clock.nowMs());
  const told: string[] = [];
  const send = (assignment: string): Promise<void> => {
    told.push(assignment);
    return failing ? Promise.reject(new Error('nobody listens')) : Promise.resolve();
  };
  return { clock, log, told, notifier: createNotifier({ clock, log, pid: PID, send }, environment) };
}

describe('the service manager', () => {
  it('is told nothing where there is none', async () => {
    const { notifier, told } = world({ WATCHDOG_USEC: '3000000' });
    notifier.ready();
    notifier.alive();
    await notifier.stopping();
    expect(told).toEqual([]);
    expect(notifier.watchdogMs).toBeUndefined();
  });

  it('is told the start and the end, and nothing of a watchdog that is not for this process', async () => {
    const { notifier, told } = world({ ...WATCHED, WATCHDOG_PID: '7' });
    notifier.ready();
    notifier.alive();
    await notifier.stopping();
    expect(told).toEqual(['READY=1', 'STOPPING=1']);
  });

  it('that cannot be told ends nobody', async () => {
    const { notifier, log } = world(WATCHED, true);
    await notifier.stopping();
    expect(log.lines).toMatchObject([{ state: 'w', fields: { assignment: 'STOPPING=1' } }]);
  });
});

describe('the watchdog', () => {
  it('is fed several times within its limit, while the work goes well and no longer', async () => {
    const { clock, log, notifier, told } = world(WATCHED);
    let trouble = '';
    const stop = new AbortController();
    void keepAlive({ clock, log, notifier, notLive: () => trouble, stopped: stop.signal });
    await clock.advance(6_000);
    const fed = told.length;
    expect(fed).toBeGreaterThanOrEqual(4);
    trouble = 'no tick succeeded';
    await clock.advance(10_000);
    expect(told).toHaveLength(fed);
    expect(log.lines.filter(({ state }) => state === 'e')).toHaveLength(1);
    trouble = '';
    await clock.advance(2_000);
    expect(told.length).toBeGreaterThan(fed);
    stop.abort();
    await clock.settle();
    expect(clock.nextDueMs()).toBeUndefined();
  });
});
