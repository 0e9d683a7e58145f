// SPDX-License-Identifier: Apache-2.0
import {
  AffectFlag,
  type CallOptions,
  type Connection,
  type DomainRef,
  isLibvirtError,
  ListFlag,
  paramsToRecord,
  StatsFlag,
  StatsGroup,
  UndefineFlag,
  XmlFlag,
} from '@lockstep/node-libvirt';
import { METADATA_NAMESPACE, METADATA_PREFIX, metadataFragment } from '../../core/domain-xml/epoch.js';
import type { Clock } from '../clock/clock.js';
import { EventFeed } from './event-feed.js';
import {
  type CallLimit,
  type Domain,
  type DomainEvent,
  type DomainUsage,
  type Hypervisor,
  HypervisorError,
  type HypervisorInfo,
  type IncomingMigration,
  type MemoryUse,
  type OutgoingMigration,
} from './hypervisor.js';
import { DomainReader } from './libvirt-domain.js';
import { passOnEvents } from './libvirt-events.js';
import { checkFit } from './libvirt-fit.js';
import { type LibvirtAddress, LibvirtLink, openConnection } from './libvirt-link.js';
import { measureMemory } from './libvirt-memory.js';
import { LibvirtIncoming, LibvirtOutgoing } from './libvirt-migration.js';

export interface LibvirtOptions extends LibvirtAddress {
  clock: Clock;
  /** Where other hosts' QEMU reach this one, e.g. `tcp://10.0.0.2`; undefined: `migration_host` in qemu.conf says. */
  migrateUri?: string | undefined;
}

/** libvirt's own client stops at four calls; one place is kept for those that still answer. */
const MOST_ABANDONED = { control: 3, figures: 1 };
/**
 * A fresh libvirtd asks every QEMU what it can do when it first has to know, for the first Prepare and for the first
 * figures, which takes seconds: so it is asked for that at once.
 */
const PROBE_LIMIT_MS = 60_000;
/** What a frozen guest costs the figures of the others, at most, and how many such guests in one call. */
const FIGURES = { attemptMs: 1_000, attempts: 4 };

/** The hypervisor of this host by libvirt's socket. Connects by itself, now and again. */
export function createLibvirtHypervisor(options: LibvirtOptions): Hypervisor {
  return new LibvirtHypervisor(options);
}

type OnDomain<T> = (connection: Connection, domain: DomainRef, options: CallOptions) => Promise<T>;

class LibvirtHypervisor implements Hypervisor {
  readonly #options: LibvirtOptions;
  readonly #feed = new EventFeed();
  readonly #domains: DomainReader;
  readonly #migrations = new Set<Connection>();
  readonly #control: LibvirtLink;
  /** Apart from `#control`, because figures are what a frozen guest holds up. */
  readonly #figures: LibvirtLink;
  #closed = false;

  constructor(options: LibvirtOptions) {
    const { clock } = options;
    const address = { socketPath: options.socketPath, uri: options.uri };
    this.#options = options;
    this.#domains = new DomainReader(clock);
    const heed = (event: DomainEvent): void => {
      this.#domains.heed(event);
      this.#feed.emit(event);
    };
    this.#control = new LibvirtLink({
      clock,
      address,
      mostAbandoned: MOST_ABANDONED.control,
      onConnected: (connection) => passOnEvents(connection, { emit: heed }),
    });
    this.#figures = new LibvirtLink({
      clock,
      address,
      mostAbandoned: MOST_ABANDONED.figures,
      onConnected: async ({ host }) => {
        await host.domainCapabilities({}, { deadlineMs: PROBE_LIMIT_MS });
        await host.capabilities({ deadlineMs: PROBE_LIMIT_MS });
      },
    });
  }

  info(call: CallLimit): Promise<HypervisorInfo> {
    return this.#control.run('info', call, async ({ host }, options) => {
      const { cpus, memoryBytes } = await host.nodeInfo(options);
      const { major, minor, release } = await host.libVersion(options);
      const hostUuid = /<host>\s*<uuid>([^<]*)<\/uuid>/.exec(await host.capabilities(options))?.[1];
      if (hostUuid === undefined) throw new HypervisorError('failed', 'libvirt does not know the UUID of this host');
      return {
        hostUuid: hostUuid.toLowerCase(),
        hostname: await host.hostname(options),
        version: `${String(major)}.${String(minor)}.${String(release)}`,
        cpus,
        memoryBytes,
      };
    });
  }

  list(call: CallLimit): Promise<Domain[]> {
    return this.#control.run('list', call, (connection, options) => this.#domains.list(connection, options));
  }

  find(uuid: string, call: CallLimit): Promise<Domain | undefined> {
    return this.#control.run('find', call, (connection, options) => this.#domains.find(connection, options, uuid));
  }

  async usage(call: CallLimit): Promise<DomainUsage[]> {
    const startMs = this.#options.clock.nowMs();
    for (let attempt = 1; ; attempt++) {
      const leftMs = call.deadlineMs - (this.#options.clock.nowMs() - startMs);
      try {
        return await this.#figures.run('usage', { ...call, deadlineMs: Math.min(leftMs, FIGURES.attemptMs) }, readUsage);
      } catch (error) {
        // The first to ask a frozen guest hangs on it, and holds its lock: whoever asks again is told to pass it over.
        const hung = error instanceof HypervisorError && error.kind === 'deadline';
        if (!hung || attempt === FIGURES.attempts || leftMs <= FIGURES.attemptMs) throw error;
      }
    }
  }

  xml(uuid: string, which: 'live' | 'inactive', call: CallLimit): Promise<string> {
    const flags = XmlFlag.SECURE | (which === 'inactive' ? XmlFlag.INACTIVE : 0);
    return this.#on('xml', uuid, call, ({ domains }, domain, options) => domains.xml(domain, flags, options));
  }

  define(xml: string, call: CallLimit): Promise<Domain> {
    return this.#control.run('define', call, async (connection, options) => {
      const { uuid } = await connection.domains.defineXml(xml, 0, options);
      const defined = await this.#domains.find(connection, options, uuid);
      if (defined === undefined) throw new HypervisorError('gone', `the domain ${uuid} was undefined at once`);
      return defined;
    });
  }

  async stampEpoch(uuid: string, placementEpoch: bigint, call: CallLimit): Promise<void> {
    await this.#on('stampEpoch', uuid, call, async ({ domains }, domain, options) => {
      const active = await domains.isActive(domain, options);
      const persistent = await domains.isPersistent(domain, options);
      const xml = metadataFragment(await domains.xml(domain, 0, options), placementEpoch);
      const element = { uri: METADATA_NAMESPACE, key: METADATA_PREFIX, xml };
      const flags = (active ? AffectFlag.LIVE : 0) | (persistent ? AffectFlag.CONFIG : 0);
      await domains.setMetadata(domain, element, flags, options);
      // No event of those that are listened to tells of it.
      this.#domains.forget(uuid);
    });
  }

  async disableAutostart(uuid: string, call: CallLimit): Promise<void> {
    await this.#on('disableAutostart', uuid, call, async ({ domains }, domain, options) => {
      // What is not defined is not started by itself either.
      if (await domains.isPersistent(domain, options)) await domains.setAutostart(domain, false, options);
    });
  }

  async start(uuid: string, call: CallLimit): Promise<void> {
    await this.#on('start', uuid, call, ({ domains }, domain, options) => domains.start(domain, 0, options));
  }

  async shutdown(uuid: string, call: CallLimit): Promise<void> {
    await this.#on('shutdown', uuid, call, ({ domains }, domain, options) => domains.shutdown(domain, 0, options));
  }

  async reboot(uuid: string, call: CallLimit): Promise<void> {
    await this.#on('reboot', uuid, call, ({ domains }, domain, options) => domains.reboot(domain, 0, options));
  }

  async reset(uuid: string, call: CallLimit): Promise<void> {
    await this.#on('reset', uuid, call, ({ domains }, domain, options) => domains.reset(domain, options));
  }

  async destroy(uuid: string, call: CallLimit): Promise<void> {
    await this.#undo('destroy', uuid, call, {
      work: ({ domains }, domain, options) => domains.destroy(domain, 0, options),
      isLeft: ({ domains }, domain, options) => domains.isActive(domain, options),
    });
  }

  async resume(uuid: string, call: CallLimit): Promise<void> {
    await this.#on('resume', uuid, call, ({ domains }, domain, options) => domains.resume(domain, options));
  }

  async undefine(uuid: string, call: CallLimit): Promise<void> {
    // The guest's firmware variables and TPM stay: it may be on its way to another host.
    const { MANAGED_SAVE, SNAPSHOTS_METADATA, CHECKPOINTS_METADATA, KEEP_NVRAM } = UndefineFlag;
    const flags = MANAGED_SAVE | SNAPSHOTS_METADATA | CHECKPOINTS_METADATA | KEEP_NVRAM;
    await this.#undo('undefine', uuid, call, {
      work: ({ domains }, domain, options) => domains.undefine(domain, flags, options),
      isLeft: ({ domains }, domain, options) => domains.isPersistent(domain, options),
    });
  }

  checkFit(xml: string, call: CallLimit): Promise<void> {
    return this.#control.run('checkFit', call, (connection, options) => checkFit(connection, xml, options));
  }

  memoryUse(uuid: string, call: CallLimit): Promise<MemoryUse> {
    return measureMemory({ clock: this.#options.clock, control: this.#control, figures: this.#figures }, uuid, call);
  }

  async openOutgoing(uuid: string, call: CallLimit): Promise<OutgoingMigration> {
    const domain = await this.#on('openOutgoing', uuid, call, (_connection, found) => Promise.resolve(found));
    const connection = await this.#openMigration(call);
    return new LibvirtOutgoing({ connection, domain, levers: this.#control, figures: this.#figures });
  }

  async openIncoming(uuid: string, call: CallLimit): Promise<IncomingMigration> {
    return new LibvirtIncoming({
      connection: await this.#openMigration(call),
      uuid,
      migrateUri: this.#options.migrateUri,
    });
  }

  events(signal: AbortSignal): AsyncIterable<DomainEvent> {
    return this.#feed.subscribe(signal);
  }

  async close(): Promise<void> {
    this.#closed = true;
    const migrations = [...this.#migrations].map((connection) => connection.close());
    await Promise.all([this.#control.close(), this.#figures.close(), ...migrations]);
  }

  async #openMigration(call: CallLimit): Promise<Connection> {
    // Where the control connection is down this one would only wait for its time to run out.
    await this.#control.run('openMigration', call, () => Promise.resolve());
    const connection = await openConnection(this.#options, call.signal);
    if (this.#closed) {
      await connection.close();
      throw new HypervisorError('down', 'this hypervisor was closed');
    }
    this.#migrations.add(connection);
    connection.closed.addEventListener('abort', () => this.#migrations.delete(connection), { once: true });
    return connection;
  }

  #on<T>(what: string, uuid: string, call: CallLimit, work: OnDomain<T>): Promise<T> {
    return this.#control.run(what, call, async (connection, options) =>
      work(connection, await connection.domains.lookupByUuid(uuid, options), options),
    );
  }

  /** Takes something away; done where it is not there. */
  async #undo(
    what: string,
    uuid: string,
    call: CallLimit,
    { work, isLeft }: { work: OnDomain<void>; isLeft: OnDomain<boolean> },
  ): Promise<void> {
    await this.#control.run(what, call, async (connection, options) => {
      try {
        const domain = await connection.domains.lookupByUuid(uuid, options);
        await work(connection, domain, options).catch(async (error: unknown) => {
          if (!isLibvirtError(error, 'OPERATION_INVALID') || (await isLeft(connection, domain, options))) throw error;
        });
      } catch (error) {
        if (!isLibvirtError(error, 'NO_DOMAIN')) throw error;
      }
    });
  }
}

async function readUsage({ domains }: Connection, options: CallOptions): Promise<DomainUsage[]> {
  const stats = await domains.allStats(
    { groups: StatsGroup.CPU_TOTAL | StatsGroup.BALLOON, flags: ListFlag.ACTIVE | StatsFlag.NOWAIT },
    options,
  );
  return stats.flatMap(({ domain, params }) => {
    const figures = paramsToRecord(params);
    const cpuTimeNs = figures['cpu.time'];
    const residentKib = figures['balloon.rss'];
    if (typeof cpuTimeNs !== 'bigint' || typeof residentKib !== 'bigint') return [];
    return [{ uuid: domain.uuid, cpuTimeNs, memoryUsedBytes: residentKib * 1024n }];
  });
}
