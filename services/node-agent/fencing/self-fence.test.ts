// SPDX-License-Identifier: Apache-2.0
import { SelfFenceMode, VmDesired } from '@lockstep/sdk/v1';
import { beforeEach, describe, expect, it } from 'vitest';
import { cuttable } from '../../membership/test-world.js';
import { createSimulatedWatchdog, type SimulatedWatchdog } from '../../platform/watchdog/simulated.js';
import { TestBed, VM, type TestNode } from '../test-bed.js';
import { TestLeader } from '../test-leader.js';
import type { SelfFenceConfig } from './self-fence.js';

const WATCHDOG: SelfFenceConfig = { mode: 'watchdog', afterMs: 20_000, watchdogMs: 10_000 };

let bed: TestBed;
let watchdog: SimulatedWatchdog;
let resets: number[];

beforeEach(() => {
  bed = new TestBed();
  resets = [];
  watchdog = createSimulatedWatchdog({ clock: bed.clock, timeoutMs: 10_000, onExpiry: () => resets.push(bed.clock.nowMs()) });
});

/** An agent, and how to take the store away from it. */
async function node(selfFence: SelfFenceConfig): Promise<{ agent: TestNode; cut: (isCut: boolean) => void }> {
  let cut: (isCut: boolean) => void = () => undefined;
  const agent = await bed.node('a', {
    config: { selfFence },
    watchdog,
    driver: (real) => {
      const line = cuttable(real);
      cut = line.cut;
      return line.driver;
    },
  });
  return { agent, cut };
}

describe('a watchdog', () => {
  it('is announced exactly as long as it is armed, and fed while the lease is held', async () => {
    const { agent } = await node(WATCHDOG);
    await bed.clock.advance(5_000);
    expect(watchdog.isArmed).toBe(true);
    expect((await bed.nodeRecord('a'))?.selfFence?.mode).toBe(SelfFenceMode.WATCHDOG);
    await bed.clock.advance(600_000);
    expect(resets).toEqual([]);
    const stopping = agent.agent.stop();
    await bed.clock.advance(5_000);
    await stopping;
    expect((await bed.nodeRecord('a'))?.selfFence?.mode).toBe(SelfFenceMode.NONE);
    expect(watchdog.isArmed).toBe(false);
  });

  it('resets the host between the self-fence and the proof by expiry once the lease is lost', async () => {
    const { cut } = await node(WATCHDOG);
    await bed.clock.advance(60_000);
    const lostAtMs = bed.clock.nowMs();
    cut(true);
    await bed.clock.advance(60_000);
    expect(resets).toHaveLength(1);
    expect((resets[0] ?? 0) - lostAtMs).toBeGreaterThan(20_000);
    expect((resets[0] ?? 0) - lostAtMs).toBeLessThan(36_000);
  });
});

describe('an agent that is killed while its watchdog is armed', () => {
  it('and is back in time takes its lease over at once, feeds on, and nothing is reset', async () => {
    const { agent } = await node(WATCHDOG);
    await bed.clock.advance(60_000);
    await agent.kill();
    await bed.clock.advance(4_000);
    await agent.restart({ config: { selfFence: WATCHDOG }, watchdog });
    await bed.clock.advance(5_500);
    expect((await bed.nodeRecord('a'))?.selfFence?.mode).toBe(SelfFenceMode.WATCHDOG);
    await bed.clock.advance(600_000);
    expect(resets).toEqual([]);
    expect(await agent.incarnation()).toBe(2n);
  });

  it('and is back too late finds its host reset', async () => {
    const { agent } = await node(WATCHDOG);
    await bed.clock.advance(60_000);
    const killedAtMs = bed.clock.nowMs();
    await agent.kill();
    await bed.clock.advance(12_000);
    expect(resets).toHaveLength(1);
    expect((resets[0] ?? 0) - killedAtMs).toBeLessThanOrEqual(10_000);
  });

  it('and cannot reach the store when it is back feeds nothing, so that the expiry still proves what it says', async () => {
    const { agent } = await node(WATCHDOG);
    await bed.clock.advance(60_000);
    await agent.kill();
    await agent.restart({ config: { selfFence: WATCHDOG }, watchdog, driver: (real) => {
      const line = cuttable(real);
      line.cut(true);
      return line.driver;
    } });
    await bed.clock.advance(10_500);
    expect(resets).toHaveLength(1);
  });
});

describe('stopping its VMs', () => {
  it('ends what runs here once the lease is lost for too long, and not before', async () => {
    const { agent, cut } = await node({ ...WATCHDOG, mode: 'stop-vms' });
    const leader = new TestLeader(bed);
    await bed.record({ node: 'a', epoch: 1n });
    await leader.apply(agent, 1n, VmDesired.RUNNING);
    await bed.clock.advance(10_000);
    expect(bed.runningOn(VM)).toEqual(['a']);
    cut(true);
    await bed.clock.advance(12_000);
    expect(bed.runningOn(VM)).toEqual(['a']);
    await bed.clock.advance(30_000);
    expect(bed.runningOn(VM)).toEqual([]);
    expect(watchdog.isArmed).toBe(false);
  });
});

it('times that do not fit together are refused at the start, with the arithmetic', async () => {
  const wrong = node({ ...WATCHDOG, afterMs: 10_000 });
  await expect(wrong).rejects.toThrow(/self_fence: got .*12 s after its last renewal.*after 10 s/);
  bed = new TestBed();
  watchdog = createSimulatedWatchdog({ clock: bed.clock, timeoutMs: 60_000, onExpiry: () => undefined });
  await expect(node(WATCHDOG)).rejects.toThrow(/watchdog_seconds: got 10 s, and simulated watchdog takes 60 s/);
});
