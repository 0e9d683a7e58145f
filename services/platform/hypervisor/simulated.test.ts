// SPDX-License-Identifier: Apache-2.0
import { beforeEach, describe, expect, it } from 'vitest';
import { METADATA_NAMESPACE } from '../../core/domain-xml/epoch.js';
import { createVirtualClock, type VirtualClock } from '../clock/virtual.js';
import { createSeededRandom } from '../random/seeded.js';
import type { Hypervisor, TransferSettings } from './hypervisor.js';
import { type CopyChange, createSimulatedHost, createSimulatedNetwork, type SimulatedHost } from './simulated.js';

const UUID = '6d1a2c8e-45b7-4f0e-9a51-3f2f0c9a7b10';
const LIMIT = { deadlineMs: 5000 };
const SETTINGS: TransferSettings = {
  bandwidthBytesPerSecond: undefined, maxDowntimeMs: undefined, autoConverge: false, postCopy: false,
};

function xmlOf(simulated: string): string {
  return `<domain type="kvm"><name>web</name><uuid>${UUID}</uuid><memory unit="GiB">1</memory><metadata>
    <l:vm xmlns:l="${METADATA_NAMESPACE}"><l:placement epoch="1"/><l:simulated ${simulated}/></l:vm></metadata></domain>`;
}

let clock: VirtualClock;
let hosts: { one: SimulatedHost; two: SimulatedHost };
let agents: { one: Hypervisor; two: Hypervisor };
let network: ReturnType<typeof createSimulatedNetwork>;
let changes: CopyChange[];

/** Lets virtual time pass until the promise settles. */
async function passing<T>(promise: Promise<T>, limitMs = 60_000): Promise<T> {
  const state = { settled: false };
  const watched = promise.finally(() => {
    state.settled = true;
  });
  watched.catch(() => undefined);
  const untilMs = clock.nowMs() + limitMs;
  await clock.settle();
  while (!state.settled) {
    const next = clock.nextDueMs();
    if (next === undefined || next > untilMs) throw new Error(`not settled after ${String(limitMs)} ms`);
    await clock.advance(next - clock.nowMs());
  }
  return watched;
}

function setUp(): void {
  clock = createVirtualClock();
  // 1 GiB/s: half of the guest's memory takes half a second.
  network = createSimulatedNetwork({ bytesPerSecond: 2 ** 30 });
  changes = [];
  network.observe((change) => changes.push(change));
  const host = (name: string): SimulatedHost =>
    createSimulatedHost({ clock, random: createSeededRandom({ seed: name, clock }), network, name });
  hosts = { one: host('h1'), two: host('h2') };
  agents = { one: hosts.one.hypervisor(), two: hosts.two.hypervisor() };
}
beforeEach(setUp);

async function transferring(simulated: string, settings: Partial<TransferSettings> = {}) {
  await passing(agents.one.define(xmlOf(simulated), LIMIT));
  await passing(agents.one.start(UUID, LIMIT));
  const outgoing = await passing(agents.one.openOutgoing(UUID, LIMIT));
  const begun = await passing(outgoing.begin(LIMIT));
  const incoming = await passing(agents.two.openIncoming(UUID, LIMIT));
  const all = { ...SETTINGS, ...settings };
  const { uri, cookie } = await passing(incoming.prepare({ ...begun, settings: all }, LIMIT));
  const performed = outgoing.perform({ uri, cookie, settings: all, persistentXml: begun.persistentXml });
  performed.catch(() => undefined);
  await clock.advance(10);
  return { outgoing, incoming, performed };
}

describe('transfers', () => {
  it('last as long as memory, link and dirty rate make them', async () => {
    const { outgoing, performed } = await transferring('dirty-rate="256MiB" resident="1GiB"');
    const before = await passing(outgoing.progress(LIMIT));
    expect(before.memoryTotalBytes).toBe(2n ** 30n);
    await clock.advance(500);
    const after = await passing(outgoing.progress(LIMIT));
    expect(after.memorySentBytes).toBeGreaterThan(before.memorySentBytes + 2n ** 28n);
    expect(after.memoryRemainingBytes).toBeLessThan(before.memoryRemainingBytes);
    expect(after.dirtyRateBytesPerSecond).toBe(2n ** 28n);
    // 1 s for all of it, then 250 ms for a quarter, which fits the default downtime.
    const startedMs = clock.nowMs() - 500;
    await passing(performed);
    expect(clock.nowMs() - startedMs).toBeGreaterThan(1150);
    expect(clock.nowMs() - startedMs).toBeLessThan(1350);
  });

  it('never end where the guest writes faster than the link, until the downtime allows it', async () => {
    const { outgoing, performed } = await transferring('dirty-rate="2GiB" working-set="1GiB"');
    await clock.advance(60_000);
    const progress = await passing(outgoing.progress(LIMIT));
    expect(progress.iteration).toBeGreaterThan(10);
    await passing(outgoing.setMaxDowntime(1500, LIMIT));
    await passing(performed);
    expect(hosts.one.guest(UUID)?.state).toEqual({ state: 'paused', reason: 'migration' });
  });

  it('end with auto-converge, which slows the guest down', async () => {
    const { performed } = await transferring('dirty-rate="2GiB" working-set="1GiB"', { autoConverge: true });
    await passing(performed, 60_000);
  });

  it('keep to the bandwidth, also to a new one', async () => {
    const slow = { bandwidthBytesPerSecond: BigInt(2 ** 20) };
    const { outgoing, performed } = await transferring('resident="64MiB" dirty-rate="0"', slow);
    await clock.advance(10_000);
    const sent = Number((await passing(outgoing.progress(LIMIT))).memorySentBytes) / 2 ** 20;
    expect(sent).toBeGreaterThan(9.9);
    expect(sent).toBeLessThan(10.1);
    await passing(outgoing.setBandwidth(BigInt(2 ** 30), LIMIT));
    await passing(performed, 100);
  });

  it('stand still while the link is cut, can be aborted then, and go on when it heals', async () => {
    const { outgoing, performed } = await transferring('resident="1GiB"');
    network.cut('h2', 'h1');
    const before = await passing(outgoing.progress(LIMIT));
    await clock.advance(10_000);
    const after = await passing(outgoing.progress(LIMIT));
    expect(after.memorySentBytes).toBe(before.memorySentBytes);
    expect(after.bandwidthBytesPerSecond).toBe(0n);
    network.heal('h1', 'h2');
    await clock.advance(100);
    network.cut('h1', 'h2');
    await passing(outgoing.abort(LIMIT));
    await expect(performed).rejects.toMatchObject({ kind: 'aborted' });
    expect(hosts.one.guest(UUID)?.running).toBe(true);
  });

  it('fail by themselves when nothing moves for long, and the guest runs on', async () => {
    const { performed } = await transferring('resident="1GiB"');
    hosts.two.losePower();
    await expect(passing(performed, 200_000)).rejects.toMatchObject({ kind: 'failed' });
    expect(hosts.one.guest(UUID)?.running).toBe(true);
  });

  it('with post-copy the guest runs on the target before they end', async () => {
    const settings = { postCopy: true };
    const { outgoing, incoming, performed } = await transferring('dirty-rate="2GiB" working-set="1GiB"', settings);
    await passing(outgoing.startPostCopy(LIMIT));
    const { cookie } = await passing(performed);
    expect(hosts.one.guest(UUID)?.running).toBe(false);
    const finished = incoming.finish({ cookie }, LIMIT);
    await clock.advance(10);
    expect(hosts.two.guest(UUID)?.state).toEqual({ state: 'running', reason: 'post-copy' });
    await expect(passing(outgoing.abort(LIMIT))).rejects.toMatchObject({ kind: 'refused' });
    await expect(passing(outgoing.confirm({ cookie }, LIMIT))).rejects.toMatchObject({ kind: 'refused' });
    await passing(finished);
    expect(hosts.two.guest(UUID)?.state).toEqual({ state: 'running', reason: 'ordinary' });
    await passing(outgoing.confirm({ cookie }, LIMIT));
    expect(hosts.one.guest(UUID)).toBeUndefined();
  });

  it('lost in post-copy leave neither copy running', async () => {
    const settings = { postCopy: true };
    const { outgoing, incoming, performed } = await transferring('dirty-rate="2GiB" working-set="1GiB"', settings);
    await passing(outgoing.startPostCopy(LIMIT));
    const { cookie } = await passing(performed);
    const finished = incoming.finish({ cookie }, LIMIT);
    finished.catch(() => undefined);
    await clock.advance(10);
    hosts.one.crashGuest(UUID);
    await expect(passing(finished)).rejects.toMatchObject({ kind: 'failed' });
    expect(hosts.two.guest(UUID)?.state).toEqual({ state: 'paused', reason: 'post-copy-failed' });
  });
});

describe('a simulated host', () => {
  it('loses its guests with its power and keeps their definitions', async () => {
    await passing(agents.one.define(xmlOf(''), LIMIT));
    await passing(agents.one.start(UUID, LIMIT));
    await clock.advance(10_000);
    const { boot } = hosts.one.guest(UUID)?.memory() ?? { boot: '' };
    hosts.one.losePower();
    await expect(agents.one.list(LIMIT)).rejects.toMatchObject({ kind: 'down' });
    hosts.one.gainPower();
    expect((await passing(agents.one.list(LIMIT)))[0]).toMatchObject({ uuid: UUID, state: { state: 'off' } });
    await passing(agents.one.start(UUID, LIMIT));
    expect(hosts.one.guest(UUID)?.counter()).toBeLessThan(10);
    expect(hosts.one.guest(UUID)?.memory().boot).not.toBe(boot);
  });

  it('answers nobody while its daemon hangs, and takes calls up again afterwards', async () => {
    await passing(agents.one.define(xmlOf(''), LIMIT));
    hosts.one.hangDaemon();
    await expect(passing(agents.one.start(UUID, { deadlineMs: 100 }))).rejects.toMatchObject({ kind: 'deadline' });
    expect(hosts.one.guest(UUID)).toBeUndefined();
    hosts.one.continueDaemon();
    await clock.advance(100);
    // The call that its caller gave up was in the daemon's socket all the time.
    expect(hosts.one.guest(UUID)?.running).toBe(true);
  });

  it('tells observers of every copy that begins or ends to run', async () => {
    const { incoming, outgoing, performed } = await transferring('');
    const { cookie } = await passing(performed);
    await passing(incoming.finish({ cookie }, LIMIT));
    await passing(outgoing.confirm({ cookie }, LIMIT));
    const running = new Set<string>();
    for (const change of changes) {
      if (change.running) running.add(change.host);
      else running.delete(change.host);
      expect(running.size).toBeLessThan(2);
    }
    expect([...running]).toEqual(['h2']);
  });

  it('refuses behaviour that makes no sense', async () => {
    await passing(agents.one.define(xmlOf('dirty-rate="fast"'), LIMIT));
    await expect(passing(agents.one.start(UUID, LIMIT))).rejects.toMatchObject({ kind: 'invalid' });
  });

  it('runs the same way every time', async () => {
    const story = async (): Promise<string> => {
      setUp();
      const { performed } = await transferring('dirty-rate="256MiB"');
      await passing(performed);
      return JSON.stringify({ changes, endMs: clock.nowMs() });
    };
    expect(await story()).toBe(await story());
  });
});
