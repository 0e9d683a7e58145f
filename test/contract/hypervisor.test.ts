// SPDX-License-Identifier: Apache-2.0
// One suite for every hypervisor behind the port: whatever the simulated one promises, libvirt and QEMU do.
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { withPlacementEpoch } from '../../services/core/domain-xml/epoch.js';
import { parseDomainXml } from '../../services/core/domain-xml/parse.js';
import type {
  CallLimit,
  Domain,
  DomainDefinitions,
  DomainEvent,
  DomainUsage,
  Hypervisor,
  IncomingMigration,
  OutgoingMigration,
  TransferSettings,
} from '../../services/platform/hypervisor/hypervisor.js';
import { startLibvirtRig } from './hypervisor.libvirt.js';
import type { TestGuest, TestHost, TestRig } from './hypervisor.rig.js';
import { startSimulatedRig } from './hypervisor.simulated.js';

const LIMIT: CallLimit = { deadlineMs: 15_000 };
const MIB = 1024n * 1024n;
const SETTINGS: TransferSettings = {
  bandwidthBytesPerSecond: undefined, maxDowntimeMs: undefined, autoConverge: false, postCopy: false,
};
/** The `dirty` guest writes faster than this, so its transfer lasts until something else ends it. */
const ENDLESS: TransferSettings = { ...SETTINGS, bandwidthBytesPerSecond: 2n * MIB, maxDowntimeMs: 20 };
/** Of the libvirt client: 256. */
const MORE_THAN_CALLS_MAY_WAIT = 300;
const EPOCH = { before: 5n, after: 6n };

/** Asks again until it is so; for what happens by itself, soon. */
async function eventually(what: string, holds: () => Promise<boolean> | boolean, limitMs = 15_000): Promise<void> {
  const untilMs = performance.now() + limitMs;
  while (!(await holds())) {
    if (performance.now() > untilMs) throw new Error(`${what}: not within ${String(limitMs)} ms`);
    await sleep(20);
  }
}

describe.each([
  { kind: 'simulated', start: startSimulatedRig },
  { kind: 'libvirt', start: startLibvirtRig },
])('the $kind hypervisor', ({ start }) => {
  let rig: TestRig;
  let source: Hypervisor;
  let target: Hypervisor;
  let guest: TestGuest;
  let opened: Hypervisor[] = [];
  let guests: TestGuest[] = [];
  const cleanups: Promise<void>[] = [];

  const connect = (host: TestHost): Hypervisor => {
    const hypervisor = host.connect();
    opened.push(hypervisor);
    return hypervisor;
  };

  const newGuest = (kind: TestGuest['kind']): TestGuest => {
    const uuid = randomUUID();
    const fresh: TestGuest = { name: `vm-${uuid.slice(0, 8)}`, uuid, kind };
    guests.push(fresh);
    return fresh;
  };

  beforeAll(async () => {
    rig = await start();
  });
  afterAll(async () => {
    await Promise.all(cleanups);
    await rig.dispose();
  });
  beforeEach(() => {
    source = connect(rig.source);
    target = connect(rig.target);
    guest = newGuest('counter');
  });
  afterEach(async () => {
    await Promise.all(opened.map((hypervisor) => hypervisor.close()));
    // The end of a QEMU takes a second or two, for which the next test need not wait.
    cleanups.push(remove(guests));
    opened = [];
    guests = [];
  });

  const remove = async (these: readonly TestGuest[]): Promise<void> => {
    for (const hypervisor of [rig.source.connect(), rig.target.connect()]) {
      for (const { uuid } of these) {
        // The next test may have taken the daemon down.
        const removed = () => hypervisor.destroy(uuid, LIMIT).then(() => hypervisor.undefine(uuid, LIMIT));
        await eventually(`the end of ${uuid}`, () => removed().then(() => true, () => false), 60_000);
      }
      await hypervisor.close();
    }
  };

  const domainOn = (hypervisor: Hypervisor, of = guest): Promise<Domain | undefined> => hypervisor.find(of.uuid, LIMIT);
  const stateOn = async (hypervisor: Hypervisor, of = guest) => (await domainOn(hypervisor, of))?.state;

  const define = async (of = guest): Promise<Domain> =>
    source.define(withPlacementEpoch(await rig.xmlOf(of), EPOCH.before), LIMIT);

  /** A guest that has counted for a while, so that lost memory shows. */
  const startGuest = async (of = guest): Promise<void> => {
    await define(of);
    await source.start(of.uuid, LIMIT);
    await counting(of);
  };

  const counting = async (of = guest): Promise<void> => {
    const { last } = rig.countOf(of);
    await eventually('the guest counts', () => rig.countOf(of).last > last + 3);
    expect(rig.countOf(of).fault).toBeUndefined();
  };

  const stampedFor = (definitions: DomainDefinitions): DomainDefinitions => ({
    liveXml: withPlacementEpoch(definitions.liveXml, EPOCH.after),
    persistentXml: withPlacementEpoch(definitions.persistentXml, EPOCH.after),
  });

  interface Prepared extends DomainDefinitions {
    outgoing: OutgoingMigration;
    incoming: IncomingMigration;
    settings: TransferSettings;
    uri: string;
    cookie: Uint8Array;
  }

  const prepare = async (settings = SETTINGS): Promise<Prepared> => {
    const outgoing = await source.openOutgoing(guest.uuid, LIMIT);
    const begun = await outgoing.begin(LIMIT);
    const definitions = stampedFor(begun);
    const incoming = await target.openIncoming(guest.uuid, LIMIT);
    const { cookie: begunCookie, paused } = begun;
    const { uri, cookie } = await incoming.prepare({ ...definitions, cookie: begunCookie, paused, settings }, LIMIT);
    return { ...definitions, outgoing, incoming, settings, uri, cookie };
  };

  const perform = ({ outgoing, uri, cookie, settings, persistentXml }: Prepared): Promise<{ cookie: Uint8Array }> => {
    const performed = outgoing.perform({ uri, cookie, settings, persistentXml });
    performed.catch(() => undefined);
    return performed;
  };

  const underWay = ({ outgoing }: Prepared): Promise<void> =>
    eventually('memory moves', async () => {
      const progress = await outgoing.progress(LIMIT).catch(() => undefined);
      return (progress?.memorySentBytes ?? 0n) > 0n;
    });

  describe('domains', () => {
    it('are defined, started, listed, stopped and undefined', async () => {
      const defined = await define();
      expect(defined).toMatchObject({
        uuid: guest.uuid, name: guest.name, persistent: true, placementEpoch: EPOCH.before, maxMemoryBytes: 16n * MIB,
        vcpus: 1, state: { state: 'off' },
      });
      await source.start(guest.uuid, LIMIT);
      const listed = (await source.list(LIMIT)).find(({ uuid }) => uuid === guest.uuid);
      expect(listed).toEqual({ ...defined, state: { state: 'running', reason: 'ordinary' } });
      expect(await domainOn(source)).toEqual(listed);
      await counting();
      await source.destroy(guest.uuid, LIMIT);
      expect(await stateOn(source)).toEqual({ state: 'off', reason: 'destroyed' });
      await source.undefine(guest.uuid, LIMIT);
      expect(await domainOn(source)).toBeUndefined();
    });

    it('are done with a second time without harm', async () => {
      await startGuest();
      await expect(source.start(guest.uuid, LIMIT)).rejects.toMatchObject({ kind: 'refused' });
      await source.undefine(guest.uuid, LIMIT);
      expect(await domainOn(source)).toMatchObject({ persistent: false, state: { state: 'running' } });
      await source.undefine(guest.uuid, LIMIT);
      await source.destroy(guest.uuid, LIMIT);
      await source.destroy(guest.uuid, LIMIT);
      expect(await domainOn(source)).toBeUndefined();
    });

    it('that are not there are gone', async () => {
      const gone = { kind: 'gone' };
      expect(await domainOn(source)).toBeUndefined();
      await expect(source.start(guest.uuid, LIMIT)).rejects.toMatchObject(gone);
      await expect(source.resume(guest.uuid, LIMIT)).rejects.toMatchObject(gone);
      await expect(source.xml(guest.uuid, 'live', LIMIT)).rejects.toMatchObject(gone);
      await expect(source.stampEpoch(guest.uuid, 2n, LIMIT)).rejects.toMatchObject(gone);
      await expect(source.disableAutostart(guest.uuid, LIMIT)).rejects.toMatchObject(gone);
    });

    it('are not defined from nonsense', async () => {
      const before = new Set((await source.list(LIMIT)).map(({ uuid }) => uuid));
      for (const xml of ['', 'VM', '<domain/>', (await rig.xmlOf(guest)).replace('</domain>', '')]) {
        await expect(source.define(xml, LIMIT)).rejects.toMatchObject({ kind: 'invalid' });
      }
      expect((await source.list(LIMIT)).filter(({ uuid }) => !before.has(uuid))).toEqual([]);
    });

    it('carry a new placement epoch at once, running and for their next start, and keep the rest', async () => {
      await startGuest();
      const before = await source.xml(guest.uuid, 'inactive', LIMIT);
      await source.stampEpoch(guest.uuid, 77n, LIMIT);
      for (const which of ['live', 'inactive'] as const) {
        expect(parseDomainXml(await source.xml(guest.uuid, which, LIMIT)).placementEpoch).toBe(77n);
      }
      expect(await source.xml(guest.uuid, 'inactive', LIMIT)).toBe(withPlacementEpoch(before, 77n));
      await source.destroy(guest.uuid, LIMIT);
      await source.stampEpoch(guest.uuid, 78n, LIMIT);
      expect(await domainOn(source)).toMatchObject({ placementEpoch: 78n });
    });

    it('are listed as they are defined by now, whoever changed it', async () => {
      const listed = async (): Promise<Domain | undefined> => (await source.list(LIMIT)).find(({ uuid }) => uuid === guest.uuid);
      await define();
      expect(await listed()).toMatchObject({ maxMemoryBytes: 16n * MIB, placementEpoch: EPOCH.before });
      const somebodyElse = connect(rig.source);
      const xml = await source.xml(guest.uuid, 'inactive', LIMIT);
      await somebodyElse.define(xml.replace(/(<memory[^>]*>)(\d+)/, (_, tag: string, kib: string) => `${tag}${String(Number(kib) * 2)}`), LIMIT);
      await eventually('its new memory is listed', async () => (await listed())?.maxMemoryBytes === 32n * MIB);
      await source.stampEpoch(guest.uuid, 77n, LIMIT);
      expect(await listed()).toMatchObject({ maxMemoryBytes: 32n * MIB, placementEpoch: 77n });
      await source.undefine(guest.uuid, LIMIT);
      expect(await listed()).toBeUndefined();
    });

    it('start by themselves at boot until that is switched off, also while they run', async () => {
      await startGuest();
      await rig.source.setAutostart(guest);
      expect(await rig.source.autostarts(guest)).toBe(true);
      await source.disableAutostart(guest.uuid, LIMIT);
      expect(await rig.source.autostarts(guest)).toBe(false);
      await source.undefine(guest.uuid, LIMIT);
      // It runs on without a definition: there is nothing that could start it.
      await source.disableAutostart(guest.uuid, LIMIT);
      await counting();
    });

    it('are all listed, also where there are more of them than calls may wait', async () => {
      const many = Array.from({ length: MORE_THAN_CALLS_MAY_WAIT }, () => newGuest('counter'));
      for (const each of many) await define(each);
      const listed = new Set((await source.list({ deadlineMs: 60_000 })).map(({ uuid }) => uuid));
      expect(many.filter(({ uuid }) => !listed.has(uuid))).toEqual([]);
      for (const { uuid } of many) await source.undefine(uuid, LIMIT);
    }, 240_000);

    it('that ignore a shutdown run on', async () => {
      await startGuest();
      await source.shutdown(guest.uuid, LIMIT);
      await counting();
      expect(await stateOn(source)).toMatchObject({ state: 'running' });
    });

    it('start anew at a reset', async () => {
      await startGuest();
      await source.reset(guest.uuid, LIMIT);
      await eventually('it counts from the beginning', () => rig.countOf(guest).fault !== undefined);
    });

    it('that their user paused are told from others, and resume', async () => {
      await startGuest();
      await rig.source.pause(guest);
      expect(await stateOn(source)).toEqual({ state: 'paused', reason: 'user' });
      await source.resume(guest.uuid, LIMIT);
      await counting();
    });

    it('have a usage while they run', async () => {
      await startGuest();
      const usage = async () => (await source.usage(LIMIT)).find(({ uuid }) => uuid === guest.uuid);
      let before: DomainUsage | undefined;
      // A guest that is busy with something else is passed over.
      await eventually('it has a usage', async () => (before = await usage()) !== undefined);
      expect(before?.memoryUsedBytes).toBeGreaterThan(0n);
      // The kernel counts in hundredths of a second, of which this guest takes few.
      await eventually('its CPU time grows', async () => ((await usage())?.cpuTimeNs ?? 0n) > (before?.cpuTimeNs ?? 0n));
      await source.destroy(guest.uuid, LIMIT);
      expect(await usage()).toBeUndefined();
    });

    it('have memory that they touched and write to, which is measured', async () => {
      guest = newGuest('dirty');
      await startGuest();
      const touched = async (): Promise<bigint> => (await source.memoryUse(guest.uuid, LIMIT)).touchedBytes ?? 0n;
      await eventually('its 4 MiB are touched', async () => (await touched()) >= 4n * MIB, 60_000);
      // It has 20 MiB, and its process holds far more.
      expect(await touched()).toBeLessThanOrEqual(20n * MIB);
      await source.destroy(guest.uuid, LIMIT);
      await expect(source.memoryUse(guest.uuid, LIMIT)).rejects.toMatchObject({ kind: 'refused' });
    });

    it('tell of their changes', async () => {
      const stop = new AbortController();
      const seen: DomainEvent[] = [];
      const watching = (async () => {
        for await (const event of source.events(stop.signal)) seen.push(event);
      })();
      await eventually('it begins', () => seen.length > 0);
      expect(seen[0]).toEqual({ kind: 'resync' });
      // Until it is connected nothing can be heard.
      await source.info(LIMIT);
      await startGuest();
      await eventually('a change is told', () => seen.some((event) => 'uuid' in event && event.uuid === guest.uuid));
      stop.abort();
      await watching;
    });
  });

  describe('storage', () => {
    it('that a copy elsewhere writes to is locked: nothing starts until that copy has ended', async () => {
      const writer = newGuest('writer');
      const xml = withPlacementEpoch(await rig.xmlOf(writer), EPOCH.before);
      for (const hypervisor of [source, target]) await hypervisor.define(xml, LIMIT);
      await source.start(writer.uuid, LIMIT);
      await expect(target.start(writer.uuid, LIMIT)).rejects.toMatchObject({ kind: 'locked' });
      expect(await stateOn(target, writer)).toMatchObject({ state: 'off' });
      expect(await stateOn(source, writer)).toMatchObject({ state: 'running' });
      await source.destroy(writer.uuid, LIMIT);
      await target.start(writer.uuid, LIMIT);
      expect(await stateOn(target, writer)).toMatchObject({ state: 'running' });
    });
  });

  describe('hosts', () => {
    it('are told apart', async () => {
      const [one, other] = [await source.info(LIMIT), await target.info(LIMIT)];
      expect(one.hostUuid).toMatch(/^[0-9a-f-]{36}$/);
      expect(one.hostUuid).not.toBe(other.hostUuid);
      expect(one.cpus).toBeGreaterThan(0);
      expect(one.memoryBytes).toBeGreaterThan(0n);
    });

    it('say whether a domain fits', async () => {
      const xml = await rig.xmlOf(guest);
      await target.checkFit(xml, LIMIT);
      const huge = xml.replace(/(<memory unit=')MiB('>)\d+/, '$1TiB$2900');
      await expect(target.checkFit(huge, LIMIT)).rejects.toMatchObject({ kind: 'refused' });
      expect(await domainOn(target)).toBeUndefined();
    });
  });

  describe('a migration', () => {
    it('takes the guest along, phase by phase', async () => {
      await startGuest();
      const { outgoing, incoming, ...prepared } = await prepare();
      expect(await domainOn(target)).toMatchObject({
        placementEpoch: EPOCH.after, state: { state: 'paused', reason: 'migration' },
      });
      await counting();
      await expect(outgoing.progress(LIMIT)).rejects.toMatchObject({ kind: 'no-job' });
      const { cookie } = await perform({ outgoing, incoming, ...prepared });
      expect(await stateOn(source)).toEqual({ state: 'paused', reason: 'migration' });
      const finished = await incoming.finish({ cookie }, LIMIT);
      expect(finished.stats.downtimeMs).toBeGreaterThanOrEqual(0);
      expect(finished.stats.totalMs).toBeGreaterThanOrEqual(finished.stats.downtimeMs ?? Infinity);
      expect(finished.stats.memorySentBytes).toBeGreaterThan(0n);
      await outgoing.confirm({ cookie: finished.cookie }, LIMIT);
      expect(await domainOn(source)).toBeUndefined();
      expect(await domainOn(target)).toMatchObject({
        placementEpoch: EPOCH.after, persistent: true, state: { state: 'running', reason: 'ordinary' },
      });
      // What the next start uses must be as new as what runs.
      expect(parseDomainXml(await target.xml(guest.uuid, 'inactive', LIMIT)).placementEpoch).toBe(EPOCH.after);
      await counting();
      outgoing.close();
      incoming.close();
      await counting();
    });

    it('is not under way where the guest has died', async () => {
      await startGuest();
      const { outgoing, incoming } = await prepare();
      await source.destroy(guest.uuid, LIMIT);
      await expect(outgoing.progress(LIMIT)).rejects.toMatchObject({ kind: 'no-job' });
      outgoing.close();
      incoming.close();
    });

    it('shows its progress and takes levers', async () => {
      guest = newGuest('dirty');
      await startGuest();
      const prepared = await prepare(ENDLESS);
      const performed = perform(prepared);
      await underWay(prepared);
      const { outgoing, incoming } = prepared;
      await eventually('iterations', async () => (await outgoing.progress(LIMIT)).iteration > 1, 30_000);
      const progress = await outgoing.progress(LIMIT);
      expect(progress.memoryTotalBytes).toBeGreaterThan(16n * MIB);
      expect(progress.memoryRemainingBytes).toBeGreaterThan(0n);
      expect(progress.bandwidthBytesPerSecond).toBeGreaterThan(0n);
      expect(progress.elapsedMs).toBeGreaterThan(0);
      await outgoing.setMaxDowntime(5000, LIMIT);
      await outgoing.setBandwidth(256n * MIB, LIMIT);
      const { cookie } = await performed;
      const finished = await incoming.finish({ cookie }, LIMIT);
      await outgoing.confirm({ cookie: finished.cookie }, LIMIT);
      await counting();
    });

    it('with post-copy ends although the guest writes faster than the link', async () => {
      guest = newGuest('dirty');
      await startGuest();
      const prepared = await prepare({ ...ENDLESS, postCopy: true });
      const performed = perform(prepared);
      await underWay(prepared);
      await prepared.outgoing.startPostCopy(LIMIT);
      const { cookie } = await performed;
      expect(await stateOn(source)).toEqual({ state: 'paused', reason: 'migration' });
      const finished = await prepared.incoming.finish({ cookie }, LIMIT);
      expect(await stateOn(target)).toEqual({ state: 'running', reason: 'ordinary' });
      await prepared.outgoing.confirm({ cookie: finished.cookie }, LIMIT);
      expect(await domainOn(source)).toBeUndefined();
      await counting();
    });

    it('lets a paused guest arrive paused', async () => {
      await startGuest();
      await rig.source.pause(guest);
      const prepared = await prepare();
      const { cookie } = await perform(prepared);
      const finished = await prepared.incoming.finish({ cookie }, LIMIT);
      await prepared.outgoing.confirm({ cookie: finished.cookie }, LIMIT);
      expect(await stateOn(target)).toEqual({ state: 'paused', reason: 'user' });
      await target.resume(guest.uuid, LIMIT);
      await counting();
    });

    it('that is cancelled leaves a paused guest paused', async () => {
      await startGuest();
      await rig.source.pause(guest);
      const { outgoing, incoming } = await prepare();
      await incoming.cancel(LIMIT);
      await outgoing.cancel(LIMIT);
      expect(await stateOn(source)).toEqual({ state: 'paused', reason: 'user' });
    });

    it('aborted in mid-transfer leaves the guest running where it was', async () => {
      guest = newGuest('dirty');
      await startGuest();
      const prepared = await prepare(ENDLESS);
      const performed = perform(prepared);
      await underWay(prepared);
      await prepared.outgoing.abort(LIMIT);
      await expect(performed).rejects.toMatchObject({ kind: 'aborted' });
      await prepared.incoming.cancel(LIMIT);
      await prepared.incoming.cancel(LIMIT);
      await prepared.outgoing.cancel(LIMIT);
      await eventually('the target is clean', async () => (await domainOn(target)) === undefined);
      expect(await domainOn(source)).toMatchObject({ placementEpoch: EPOCH.before, persistent: true });
      await counting();
    });

    it('can be given up after all memory was sent, target first', async () => {
      await startGuest();
      const prepared = await prepare();
      await perform(prepared);
      await prepared.incoming.cancel(LIMIT);
      expect(await domainOn(target)).toBeUndefined();
      await prepared.outgoing.cancel(LIMIT);
      await counting();
    });

    it('can be begun again after it was given up', async () => {
      await startGuest();
      const first = await prepare();
      await first.incoming.cancel(LIMIT);
      await first.outgoing.cancel(LIMIT);
      first.incoming.close();
      first.outgoing.close();
      const second = await prepare();
      const { cookie } = await perform(second);
      const finished = await second.incoming.finish({ cookie }, LIMIT);
      await second.outgoing.confirm({ cookie: finished.cookie }, LIMIT);
      await counting();
    });

    it('is finished once: a late cancel touches nothing, a second finish is not one', async () => {
      await startGuest();
      const { outgoing, incoming, ...prepared } = await prepare();
      const { cookie } = await perform({ outgoing, incoming, ...prepared });
      const finished = await incoming.finish({ cookie }, LIMIT);
      await incoming.cancel(LIMIT);
      await expect(incoming.finish({ cookie }, LIMIT)).rejects.toMatchObject({ kind: 'no-job' });
      await outgoing.confirm({ cookie: finished.cookie }, LIMIT);
      await counting();
    });

    it('is one at a time', async () => {
      await startGuest();
      await prepare();
      const second = await source.openOutgoing(guest.uuid, LIMIT);
      // libvirt waits for the first to end; either way there is no second one.
      const kind = expect.stringMatching(/^(refused|deadline)$/) as string;
      await expect(second.begin({ deadlineMs: 500 })).rejects.toMatchObject({ kind });
      second.close();
    });
  });

  describe('a lost connection', () => {
    it('of the target destroys a prepared guest', async () => {
      await startGuest();
      const { outgoing, incoming } = await prepare();
      incoming.close();
      await eventually('the incoming guest is gone', async () => (await domainOn(target)) === undefined);
      await outgoing.cancel(LIMIT);
      await counting();
    });

    it('of the target after the transfer destroys the guest there, and the source goes on', async () => {
      await startGuest();
      const { outgoing, incoming, ...prepared } = await prepare();
      const { cookie } = await perform({ outgoing, incoming, ...prepared });
      incoming.close();
      await eventually('the incoming guest is gone', async () => (await domainOn(target)) === undefined);
      const late = await target.openIncoming(guest.uuid, LIMIT);
      await expect(late.finish({ cookie }, LIMIT)).rejects.toMatchObject({ kind: 'gone' });
      await late.cancel(LIMIT);
      await outgoing.cancel(LIMIT);
      await counting();
    });

    it('of the target in mid-transfer fails the transfer, and the guest runs on', async () => {
      guest = newGuest('dirty');
      await startGuest();
      const prepared = await prepare(ENDLESS);
      const performed = perform(prepared);
      await underWay(prepared);
      prepared.incoming.close();
      await expect(performed).rejects.toMatchObject({ kind: 'failed' });
      await counting();
    });

    it('of the source before the transfer leaves the guest free', async () => {
      await startGuest();
      const { outgoing, incoming } = await prepare();
      outgoing.close();
      await counting();
      await incoming.cancel(LIMIT);
      const { outgoing: again } = await prepare();
      await again.cancel(LIMIT);
    });

    it('of the source after the transfer leaves a paused guest without a job', async () => {
      await startGuest();
      const { outgoing, incoming, ...prepared } = await prepare();
      const { cookie } = await perform({ outgoing, incoming, ...prepared });
      outgoing.close();
      const late = await source.openOutgoing(guest.uuid, LIMIT);
      await eventually('the job is gone', () =>
        late.cancel(LIMIT).then(() => false, (error: unknown) => (error as { kind: string }).kind === 'no-job'));
      expect(await stateOn(source)).toEqual({ state: 'paused', reason: 'migration' });
      const finished = await incoming.finish({ cookie }, LIMIT);
      await expect(late.confirm({ cookie: finished.cookie }, LIMIT)).rejects.toMatchObject({ kind: 'no-job' });
      await source.destroy(guest.uuid, LIMIT);
      await source.undefine(guest.uuid, LIMIT);
      expect(await domainOn(source)).toBeUndefined();
      await counting();
    });

    it('of the source in mid-transfer does not end the transfer, and the guest can still be finished', async () => {
      guest = newGuest('dirty');
      await startGuest();
      const { outgoing, incoming, ...prepared } = await prepare(ENDLESS);
      const performed = perform({ outgoing, incoming, ...prepared });
      await underWay({ outgoing, incoming, ...prepared });
      outgoing.close();
      await expect(performed).rejects.toMatchObject({ kind: 'down' });
      await counting();
      // The levers go on as well: they let it end.
      await outgoing.setMaxDowntime(5000, LIMIT);
      await outgoing.setBandwidth(256n * MIB, LIMIT);
      await eventually('the source stands', async () => (await stateOn(source))?.state === 'paused');
      await incoming.finish({ cookie: new Uint8Array(0) }, LIMIT);
      expect(await domainOn(target)).toMatchObject({ placementEpoch: EPOCH.after, persistent: true });
      expect(parseDomainXml(await target.xml(guest.uuid, 'inactive', LIMIT)).placementEpoch).toBe(EPOCH.after);
      await source.destroy(guest.uuid, LIMIT);
      await source.undefine(guest.uuid, LIMIT);
      await counting();
    });

    it('tells its migration', async () => {
      await startGuest();
      const { outgoing, incoming } = await prepare();
      await rig.source.killDaemon();
      await eventually('it is told', () => outgoing.lost.aborted);
      expect(incoming.lost.aborted).toBe(false);
      await rig.source.startDaemon();
      await counting();
    });
  });

  describe('a frozen guest', () => {
    it('costs the others nothing', async () => {
      const other = newGuest('counter');
      await startGuest();
      await startGuest(other);
      await rig.source.freeze(guest);
      for (let round = 0; round < 3; round++) {
        const usage = await source.usage(LIMIT);
        expect(usage.map(({ uuid }) => uuid)).toContain(other.uuid);
        expect(usage.map(({ uuid }) => uuid)).not.toContain(guest.uuid);
      }
      const hanging = Array.from({ length: 6 }, () => source.shutdown(guest.uuid, { deadlineMs: 300 }));
      for (const outcome of await Promise.allSettled(hanging)) {
        expect(outcome).toMatchObject({ status: 'rejected', reason: { kind: 'deadline' } });
      }
      expect((await source.list({ deadlineMs: 2000 })).length).toBeGreaterThanOrEqual(2);
      expect(await stateOn(source, other)).toMatchObject({ state: 'running' });
      await source.stampEpoch(other.uuid, 9n, { deadlineMs: 2000 });
      await counting(other);
      await rig.source.thaw(guest);
      await eventually('it is back', async () => (await source.usage(LIMIT)).some(({ uuid }) => uuid === guest.uuid));
    });
  });

  describe('a dead daemon', () => {
    it('is known at once, and used again when it is back; guests run on', async () => {
      await startGuest();
      const stop = new AbortController();
      const seen: DomainEvent[] = [];
      const watching = (async () => {
        for await (const event of source.events(stop.signal)) seen.push(event);
      })();
      await source.info(LIMIT);
      await rig.source.killDaemon();
      await eventually('it is down', () =>
        source.list(LIMIT).then(() => false, (error: unknown) => (error as { kind: string }).kind === 'down'));
      const startMs = performance.now();
      await expect(source.find(guest.uuid, LIMIT)).rejects.toMatchObject({ kind: 'down' });
      await expect(source.openIncoming(guest.uuid, LIMIT)).rejects.toMatchObject({ kind: 'down' });
      // Ten seconds under the deadline: nobody waited for it.
      expect(performance.now() - startMs).toBeLessThan(5_000);
      await counting();
      seen.length = 0;
      await rig.source.startDaemon();
      await eventually('it answers', () => source.list(LIMIT).then(() => true, () => false));
      await eventually('whoever listens is told', () => seen.some(({ kind }) => kind === 'resync'));
      expect(await stateOn(source)).toMatchObject({ state: 'running' });
      stop.abort();
      await watching;
    });

    it('of the target takes a prepared guest with it when it starts again', async () => {
      await startGuest();
      const { outgoing } = await prepare();
      await rig.target.killDaemon();
      await rig.target.startDaemon();
      await eventually('the incoming guest is gone', async () =>
        target.find(guest.uuid, LIMIT).then((domain) => domain === undefined, () => false));
      await outgoing.cancel(LIMIT);
      await counting();
    });

    it('of the source after the transfer forgets the job; the target can still finish', async () => {
      await startGuest();
      const prepared = await prepare();
      const { cookie } = await perform(prepared);
      await rig.source.killDaemon();
      await rig.source.startDaemon();
      await eventually('it answers', () => source.list(LIMIT).then(() => true, () => false));
      expect(await stateOn(source)).toEqual({ state: 'paused', reason: 'migration' });
      const late = await source.openOutgoing(guest.uuid, LIMIT);
      await expect(late.cancel(LIMIT)).rejects.toMatchObject({ kind: 'no-job' });
      await prepared.incoming.finish({ cookie }, LIMIT);
      await source.destroy(guest.uuid, LIMIT);
      await counting();
    });

    it('of the source in mid-transfer goes on with the guest when it starts again', async () => {
      guest = newGuest('dirty');
      await startGuest();
      const prepared = await prepare(ENDLESS);
      const performed = perform(prepared);
      await underWay(prepared);
      await rig.source.killDaemon();
      await expect(performed).rejects.toMatchObject({ kind: 'down' });
      await rig.source.startDaemon();
      await eventually('it answers', () => source.list(LIMIT).then(() => true, () => false));
      await counting();
      expect(await stateOn(source)).toMatchObject({ state: 'running' });
      await prepared.incoming.cancel(LIMIT);
      expect(await domainOn(target)).toBeUndefined();
    });

    it('that hangs costs each call its own deadline', async () => {
      await startGuest();
      await source.info(LIMIT);
      await rig.source.hangDaemon();
      try {
        await expect(source.list({ deadlineMs: 300 })).rejects.toMatchObject({ kind: 'deadline' });
        await counting();
      } finally {
        await rig.source.continueDaemon();
      }
      await eventually('it answers', () => source.list(LIMIT).then(() => true, () => false));
    });
  });
});
