// SPDX-License-Identifier: Apache-2.0
// The package against a real libvirtd and its built-in test driver, which needs no virtual machine.
import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import {
  type Connection, type DomainEvent, type DomainRef, DomainState, ListFlag, PausedReason, ShutOffReason,
  StatsGroup, XmlFlag, connect, describeLifecycle, describeState, isLibvirtError, paramsToRecord,
} from '@lockstep/node-libvirt';
import { type PrivateLibvirtd, startLibvirtd } from './node-libvirt.daemon.js';

let libvirtd: PrivateLibvirtd;
let connection: Connection;

const uri = 'test:///default';

beforeAll(async () => { libvirtd = await startLibvirtd(); });
afterAll(async () => { await libvirtd.stop(); });
beforeEach(async () => { connection = await connect({ socketPath: libvirtd.socketPath, uri }); });
afterEach(async () => { await connection.close(); });

const xmlOf = (name: string, uuid: string): string => `
<domain type='test'>
  <name>${name}</name>
  <uuid>${uuid}</uuid>
  <memory unit='KiB'>65536</memory>
  <vcpu>2</vcpu>
  <os><type arch='i686'>hvm</type></os>
  <devices><memballoon model='virtio'/></devices>
</domain>`;

/** A defined domain of one test, gone after it. */
async function withDomain(use: (domain: DomainRef) => Promise<void>): Promise<void> {
  const uuid = randomUUID();
  const domain = await connection.domains.defineXml(xmlOf(`vm-${uuid}`, uuid));
  try {
    await use(domain);
  } finally {
    const left = (await connection.domains.list()).find(({ uuid: one }) => one === uuid);
    if (left !== undefined && left.id !== -1) await connection.domains.destroy(left);
    if (left !== undefined) await connection.domains.undefine(left);
  }
}

describe('host', () => {
  it('tells who it is', async () => {
    const { host } = connection;
    expect(await host.hostname()).not.toBe('');
    expect(await host.uri()).toBe(uri);
    expect(await host.driver()).toBe('TEST');
    expect((await host.libVersion()).major).toBeGreaterThanOrEqual(9);
    expect(await host.version()).toMatchObject({ major: 0, minor: 0, release: 2 });
  });

  it('tells what it has', async () => {
    const { host } = connection;
    expect(await host.nodeInfo()).toEqual({
      cpuModel: 'i686', memoryBytes: 3n * 1024n ** 3n, cpus: 16, mhz: 1400, numaNodes: 2, socketsPerNode: 2,
      coresPerSocket: 2, threadsPerCore: 2,
    });
    expect(await host.capabilities()).toContain('<arch>i686</arch>');
    expect(await host.freeMemoryBytes()).toBeGreaterThan(0n);
    expect([...(await host.cpuTimesNs()).keys()].sort()).toEqual(['idle', 'iowait', 'kernel', 'user']);
  });
});

describe('domains', () => {
  it('are listed, and found by name and by UUID', async () => {
    const { domains } = connection;
    await withDomain(async (domain) => {
      expect(await domains.list()).toContainEqual(domain);
      expect(await domains.list(ListFlag.INACTIVE)).toContainEqual(domain);
      expect(await domains.list(ListFlag.ACTIVE)).not.toContainEqual(domain);
      expect(await domains.lookupByName(domain.name)).toEqual(domain);
      expect(await domains.lookupByUuid(domain.uuid)).toEqual(domain);
      expect(await domains.lookupByUuid(domain.uuid.toUpperCase())).toEqual(domain);
      expect(domain.id).toBe(-1);
    });
  });

  it('that do not exist are told by their code', async () => {
    const error: unknown = await connection.domains.lookupByName('nobody').catch((reason: unknown) => reason);
    expect(error).toMatchObject({
      code: 42, codeName: 'NO_DOMAIN', domainName: 'TEST', procedure: 'domainLookupByName',
    });
    expect(isLibvirtError(error, 'NO_DOMAIN')).toBe(true);
  });

  it('go through a whole life', async () => {
    const { domains } = connection;
    const stateOf = async (domain: DomainRef): Promise<string> => {
      const { state, reason } = await domains.state(domain);
      return describeState(state, reason);
    };
    await withDomain(async (defined) => {
      expect(await domains.isActive(defined)).toBe(false);
      expect(await domains.isPersistent(defined)).toBe(true);
      const domain = await domains.start(defined);
      expect(domain.id).toBeGreaterThan(0);
      expect(await domains.isActive(domain)).toBe(true);
      expect(await stateOf(domain)).toBe('RUNNING (BOOTED)');
      await domains.suspend(domain);
      expect(await domains.state(domain)).toEqual({ state: DomainState.PAUSED, reason: PausedReason.USER });
      await domains.resume(domain);
      expect(await stateOf(domain)).toBe('RUNNING (UNPAUSED)');
      await domains.reboot(domain);
      await domains.shutdown(domain);
      expect(await stateOf(domain)).toBe('SHUT_OFF (SHUTDOWN)');
      await domains.destroy(await domains.start(domain));
      expect(await domains.state(domain)).toEqual({ state: DomainState.SHUT_OFF, reason: ShutOffReason.DESTROYED });
      await domains.undefine(domain);
      const gone: unknown = await domains.state(domain).catch((reason: unknown) => reason);
      expect(isLibvirtError(gone, 'NO_DOMAIN')).toBe(true);
    });
  });

  it('without a definition are gone when they stop', async () => {
    const { domains } = connection;
    const uuid = randomUUID();
    const domain = await domains.createXml(xmlOf('transient', uuid));
    expect(await domains.isPersistent(domain)).toBe(false);
    await domains.destroy(domain);
    expect((await domains.list()).map((one) => one.uuid)).not.toContain(uuid);
  });

  it('tell their XML, figures and metadata', async () => {
    const { domains } = connection;
    await withDomain(async (defined) => {
      expect(await domains.xml(defined, XmlFlag.INACTIVE)).toContain(`<name>${defined.name}</name>`);
      const domain = await domains.start(defined);
      expect(await domains.info(domain)).toMatchObject({
        state: DomainState.RUNNING, maxMemoryBytes: 64n * 1024n ** 2n, memoryBytes: 64n * 1024n ** 2n, vcpus: 2,
      });
      const memory = await domains.memoryStats(domain);
      expect(memory.actualBalloonBytes).toBe(64n * 1024n ** 2n);
      expect(memory.availableBytes).toBeGreaterThan(0n);
      const stats = await domains.allStats({ groups: StatsGroup.STATE });
      const own = stats.find((record) => record.domain.uuid === domain.uuid);
      expect(paramsToRecord(own?.params ?? [])).toMatchObject({ 'state.state': 1, 'state.reason': 1 });
      const some = await domains.allStats({ groups: StatsGroup.STATE, domains: [domain] });
      expect(some.map((record) => record.domain.uuid)).toEqual([domain.uuid]);

      const note = { uri: 'urn:example:note', key: 'note', xml: '<epoch n="7">ä &amp; ü</epoch>' };
      expect(await domains.metadata(domain, note.uri)).toBeNull();
      await domains.setMetadata(domain, note);
      expect(await domains.metadata(domain, note.uri)).toBe(note.xml);
      await domains.setMetadata(domain, { ...note, xml: null });
      expect(await domains.metadata(domain, note.uri)).toBeNull();
    });
  });

  it('with broken XML are refused, and nothing is defined', async () => {
    const before = await connection.domains.list();
    for (const xml of ['', 'no xml', '<domain/>', "<domain type='test'><name>x</name></domain>"]) {
      const error: unknown = await connection.domains.defineXml(xml).catch((reason: unknown) => reason);
      expect(isLibvirtError(error)).toBe(true);
    }
    expect(await connection.domains.list()).toEqual(before);
  });

  it('carry large XML in both directions', async () => {
    const uuid = randomUUID();
    const description = 'ü'.repeat(500_000);
    const domain = await connection.domains.defineXml(
      xmlOf(`big-${uuid}`, uuid).replace('<memory', `<description>${description}</description><memory`),
    );
    expect(await connection.domains.xml(domain)).toContain(description);
    await connection.domains.undefine(domain);
  });
});

describe('events', () => {
  it('tell every step of a life, in order, also of what another connection does', async () => {
    const other = await connect({ socketPath: libvirtd.socketPath, uri });
    const events = await other.events.subscribe(['lifecycle']);
    const uuid = randomUUID();
    const { domains } = connection;
    const domain = await domains.defineXml(xmlOf('lively', uuid));
    await domains.start(domain);
    await domains.suspend(domain);
    await domains.resume(domain);
    await domains.destroy(domain);
    await domains.undefine(domain);
    const seen: string[] = [];
    for await (const event of events) {
      if (event.kind === 'lost' || event.domain.uuid !== uuid) continue;
      seen.push(describeLifecycle(event.change, event.detail));
      if (seen.at(-1) === 'UNDEFINED (REMOVED)') break;
    }
    expect(seen).toEqual([
      'DEFINED (ADDED)', 'STARTED (BOOTED)', 'SUSPENDED (PAUSED)', 'RESUMED (UNPAUSED)', 'STOPPED (DESTROYED)',
      'UNDEFINED (REMOVED)',
    ]);
    await other.close();
  });

  it('come only of the domain that was asked for', async () => {
    await withDomain(async (domain) => {
      await withDomain(async (another) => {
        const events = await connection.events.subscribe(['lifecycle'], { domain });
        await connection.domains.start(another);
        await connection.domains.start(domain);
        const { value } = await events.next();
        expect((value as DomainEvent | undefined)?.kind).toBe('lifecycle');
        expect((value as DomainEvent).domain.uuid).toBe(domain.uuid);
        await events.close();
      });
    });
  });
});

describe('what the test driver does not have', () => {
  it('is told as NO_SUPPORT by each wrapper, which proves that libvirt understood the call', async () => {
    await withDomain(async (defined) => {
      const domain = await connection.domains.start(defined);
      const { jobs, migration, host } = connection;
      const flags = 0;
      const step = { params: { destinationXml: '<domain/>', bandwidthMiBps: 1n }, flags, cookie: new Uint8Array(0) };
      const calls: Record<string, Promise<unknown>> = {
        stats: jobs.stats(domain),
        completedStats: jobs.completedStats(domain, true),
        abort: jobs.abort(domain),
        abortFlags: jobs.abort(domain, 1),
        setMaxDowntime: jobs.setMaxDowntime(domain, 300),
        maxDowntime: jobs.maxDowntime(domain),
        setMaxSpeed: jobs.setMaxSpeed(domain, 100),
        startPostCopy: jobs.startPostCopy(domain),
        startDirtyRateCalc: jobs.startDirtyRateCalc(domain, 1),
        begin: migration.begin(domain, step),
        prepare: migration.prepare(step),
        perform: migration.perform(domain, step, { deadlineMs: 'none' }),
        finish: migration.finish({ ...step, cancelled: true }),
        confirm: migration.confirm(domain, { ...step, cancelled: true }),
        domainCapabilities: host.domainCapabilities({ arch: 'i686', virtType: 'test' }),
        memoryBytes: host.memoryBytes(),
        compareCpu: host.compareCpu('<cpu/>'),
      };
      // Caught before the first is awaited: a refusal that nobody waits for yet is an unhandled one.
      const refusals = Object.entries(calls).map(([name, call]) => [name, call.catch((reason: unknown) => reason)] as const);
      for (const [name, refusal] of refusals) {
        const error = await refusal;
        expect([name, isLibvirtError(error) ? error.codeName : error]).toEqual([name, 'NO_SUPPORT']);
      }
    });
  });
});

describe('a libvirtd that stops', () => {
  it('is noticed by keepalive; the connection works again after a new connect', async () => {
    const own = await startLibvirtd();
    try {
      const watched = await connect({ socketPath: own.socketPath, uri, keepaliveIntervalMs: 100, keepaliveCount: 2 });
      own.signal('SIGSTOP');
      const error: unknown = await watched.host.hostname({ deadlineMs: 'none' }).catch((reason: unknown) => reason);
      expect(error).toMatchObject({ name: 'LibvirtClosedError', reason: 'keepalive', sent: true });
      const refused: unknown = await connect({ socketPath: own.socketPath, uri, connectTimeoutMs: 200 })
        .catch((reason: unknown) => reason);
      expect(refused).toMatchObject({ name: 'LibvirtDeadlineError', procedure: 'authList' });
      own.signal('SIGCONT');
      const again = await connect({ socketPath: own.socketPath, uri });
      expect(await again.host.hostname()).not.toBe('');
      await again.close();
    } finally {
      await own.stop();
    }
  });

  it('ends connections and subscriptions when it dies', async () => {
    const own = await startLibvirtd();
    const watched = await connect({ socketPath: own.socketPath, uri });
    const events = await watched.events.subscribe(['lifecycle']);
    const waiting = events.next().catch((reason: unknown) => reason);
    own.signal('SIGKILL');
    await once(watched.closed, 'abort');
    expect(watched.closeError).toMatchObject({ reason: 'remote' });
    expect(await waiting).toBe(watched.closeError);
    await own.stop();
  });

  it('answers our pings and gets answers to its own over an idle time', async () => {
    const idle = await connect({ socketPath: libvirtd.socketPath, uri, keepaliveIntervalMs: 50, keepaliveCount: 2 });
    await new Promise((resolve) => { setTimeout(resolve, 1_000); });
    expect(idle.closed.aborted).toBe(false);
    await idle.close();
  });
});
