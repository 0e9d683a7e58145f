// SPDX-License-Identifier: Apache-2.0
import {
  type CallOptions,
  type Connection,
  type DomainRef,
  DomainState as LibvirtState,
  isLibvirtError,
  type JobStats,
  JobType,
  MigrateFlag,
  type MigrationParams,
  XmlFlag,
} from '@lockstep/node-libvirt';
import { parseDomainXml } from '../../core/domain-xml/parse.js';
import {
  type CallLimit,
  type DomainDefinitions,
  HypervisorError,
  type IncomingMigration,
  type OutgoingMigration,
  type TransferProgress,
  type TransferSettings,
  type TransferStats,
} from './hypervisor.js';
import { stateOf } from './libvirt-domain.js';
import { ofMigration, translate } from './libvirt-errors.js';
import { type LibvirtLink, optionsOf } from './libvirt-link.js';

const BOTH_ENDS = MigrateFlag.LIVE | MigrateFlag.PERSIST_DEST | MigrateFlag.UNDEFINE_SOURCE;
const MIB = 1024n * 1024n;

/** What a call that has no limit of its own may take: reading figures that libvirt has at hand. */
const FIGURES_LIMIT: CallLimit = { deadlineMs: 1_000 };

/** libvirt counts bandwidth in MiB/s; 0 would mean no limit. */
function inMib(bytesPerSecond: bigint): bigint {
  return bytesPerSecond < MIB ? 1n : bytesPerSecond / MIB;
}

function bandwidth({ bandwidthBytesPerSecond }: TransferSettings): MigrationParams {
  return bandwidthBytesPerSecond === undefined ? {} : { bandwidthMiBps: inMib(bandwidthBytesPerSecond) };
}

/** libvirt's end of an outgoing migration: the phases go over a connection of its own, the levers beside it. */
export class LibvirtOutgoing implements OutgoingMigration {
  readonly uuid: string;
  readonly #connection: Connection;
  readonly #levers: LibvirtLink;
  readonly #figures: LibvirtLink;
  readonly #domain: DomainRef;
  #params: MigrationParams = {};
  #flags = BOTH_ENDS | MigrateFlag.CHANGE_PROTECTION;

  constructor(input: { connection: Connection; levers: LibvirtLink; figures: LibvirtLink; domain: DomainRef }) {
    this.uuid = input.domain.uuid;
    this.#connection = input.connection;
    this.#levers = input.levers;
    this.#figures = input.figures;
    this.#domain = input.domain;
  }

  get lost(): AbortSignal {
    return this.#connection.closed;
  }

  async begin(call: CallLimit): Promise<DomainDefinitions & { cookie: Uint8Array; paused: boolean }> {
    const options = optionsOf(call);
    const { domains, migration } = this.#connection;
    try {
      // Post-copy must be foreseen here to be possible at all; Perform says whether QEMU gets ready for it.
      const flags = this.#flags | MigrateFlag.POSTCOPY;
      const { cookie, xml } = await migration.begin(this.#domain, { params: {}, flags }, options);
      // Only now: until Begin another client could still pause or change it.
      const inactive = XmlFlag.INACTIVE | XmlFlag.SECURE | XmlFlag.MIGRATABLE;
      const [{ state }, persistentXml] = await Promise.all([
        domains.state(this.#domain, options),
        domains.xml(this.#domain, inactive, options),
      ]);
      return { liveXml: xml, persistentXml, cookie, paused: state === LibvirtState.PAUSED };
    } catch (error) {
      throw translate(error);
    }
  }

  async perform(input: {
    uri: string;
    cookie: Uint8Array;
    settings: TransferSettings;
    persistentXml: string;
  }): Promise<{ cookie: Uint8Array }> {
    const { uri, cookie, settings, persistentXml } = input;
    this.#params = { migrateUri: uri, persistentXml, ...bandwidth(settings) };
    if (settings.autoConverge) this.#flags |= MigrateFlag.AUTO_CONVERGE;
    if (settings.postCopy) this.#flags |= MigrateFlag.POSTCOPY;
    try {
      if (settings.maxDowntimeMs !== undefined) await this.setMaxDowntime(settings.maxDowntimeMs, FIGURES_LIMIT);
      const step = { params: this.#params, flags: this.#flags, cookie };
      return await this.#connection.migration.perform(this.#domain, step, { deadlineMs: 'none' });
    } catch (error) {
      throw translate(error);
    }
  }

  async progress(call: CallLimit): Promise<TransferProgress> {
    const stats = await this.#figures.run('progress', call, ({ jobs }, options) =>
      // Also where the guest has died: there is no transfer then, and that is all that is asked here.
      ofMigration(jobs.stats(this.#domain, options)),
    );
    return progressOf(stats);
  }

  setMaxDowntime(downtimeMs: number, call: CallLimit): Promise<void> {
    return this.#lever('setMaxDowntime', call, (connection, options) =>
      connection.jobs.setMaxDowntime(this.#domain, downtimeMs, options),
    );
  }

  setBandwidth(bytesPerSecond: bigint, call: CallLimit): Promise<void> {
    return this.#lever('setBandwidth', call, (connection, options) =>
      connection.jobs.setMaxSpeed(this.#domain, Number(inMib(bytesPerSecond)), options),
    );
  }

  startPostCopy(call: CallLimit): Promise<void> {
    return this.#lever('startPostCopy', call, (connection, options) =>
      connection.jobs.startPostCopy(this.#domain, options),
    );
  }

  pause(call: CallLimit): Promise<void> {
    return this.#lever('pause', call, (connection, options) => connection.domains.suspend(this.#domain, options));
  }

  abort(call: CallLimit): Promise<void> {
    return this.#lever('abort', call, (connection, options) => connection.jobs.abort(this.#domain, 0, options));
  }

  confirm({ cookie }: { cookie: Uint8Array }, call: CallLimit): Promise<void> {
    return this.#end(cookie, false, call);
  }

  async cancel(call: CallLimit): Promise<void> {
    try {
      await this.#end(new Uint8Array(0), true, call);
    } catch (error) {
      // A failed transfer has ended its job by itself. Only a guest that a migration left standing is not as it was.
      const ended = error instanceof HypervisorError && error.kind === 'no-job';
      if (!ended || (await this.#isLeftStanding(call))) throw error;
    }
  }

  close(): void {
    void this.#connection.close();
  }

  async #isLeftStanding(call: CallLimit): Promise<boolean> {
    const state = stateOf(await this.#connection.domains.state(this.#domain, optionsOf(call)).catch(raise));
    return state.state === 'paused' && state.reason !== 'user' && state.reason !== 'io-error';
  }

  #end(cookie: Uint8Array, cancelled: boolean, call: CallLimit): Promise<void> {
    const end = { params: this.#params, flags: this.#flags, cookie, cancelled };
    return ofMigration(this.#connection.migration.confirm(this.#domain, end, optionsOf(call)));
  }

  #lever(
    what: string,
    call: CallLimit,
    work: (connection: Connection, options: CallOptions) => Promise<void>,
  ): Promise<void> {
    return this.#levers.run(what, call, (connection, options) => ofMigration(work(connection, options)));
  }
}

/** libvirt's end of an incoming migration, over a connection whose loss destroys a guest that was not finished. */
export class LibvirtIncoming implements IncomingMigration {
  readonly uuid: string;
  readonly #connection: Connection;
  readonly #migrateUri: string | undefined;
  #name: string | undefined;
  #params: MigrationParams = {};
  #flags = BOTH_ENDS;
  #persistentXml = '';

  constructor(input: { connection: Connection; uuid: string; migrateUri: string | undefined }) {
    this.uuid = input.uuid;
    this.#connection = input.connection;
    this.#migrateUri = input.migrateUri;
  }

  get lost(): AbortSignal {
    return this.#connection.closed;
  }

  async prepare(
    input: DomainDefinitions & { cookie: Uint8Array; paused: boolean; settings: TransferSettings },
    call: CallLimit,
  ): Promise<{ uri: string; cookie: Uint8Array }> {
    const { liveXml, persistentXml, cookie, paused, settings } = input;
    this.#name = parseDomainXml(liveXml).name;
    this.#persistentXml = persistentXml;
    this.#params = {
      destinationXml: liveXml,
      ...bandwidth(settings),
      ...(this.#migrateUri === undefined ? {} : { migrateUri: this.#migrateUri }),
    };
    if (paused) this.#flags |= MigrateFlag.PAUSED;
    if (settings.postCopy) this.#flags |= MigrateFlag.POSTCOPY;
    try {
      const step = { params: this.#params, flags: this.#flags, cookie };
      const prepared = await this.#connection.migration.prepare(step, optionsOf(call));
      const uri = prepared.uri ?? this.#migrateUri;
      if (uri !== undefined) return { uri, cookie: prepared.cookie };
    } catch (error) {
      throw translate(error);
    }
    throw new HypervisorError('failed', 'libvirt does not say where it listens: set migration_host in qemu.conf');
  }

  async finish({ cookie }: { cookie: Uint8Array }, call: CallLimit): Promise<{ cookie: Uint8Array; stats: TransferStats }> {
    // The persistent definition comes in the source's cookie. Where that was lost we define it ourselves, afterwards.
    const told = cookie.length > 0;
    const flags = told ? this.#flags : this.#flags & ~MigrateFlag.PERSIST_DEST;
    const finished = await ofMigration(this.#finish({ cookie, flags, cancelled: false }, call));
    // The guest runs: from here on nothing may fail. One that is not persistent is seen as such in the next list.
    if (!told) await this.#connection.domains.defineXml(this.#persistentXml, 0, optionsOf(call)).catch(() => undefined);
    const stats = await this.#connection.jobs
      .completedStats(finished.domain, true, optionsOf(FIGURES_LIMIT))
      .catch(() => undefined);
    return { cookie: finished.cookie, stats: costOf(stats) };
  }

  async cancel(call: CallLimit): Promise<void> {
    try {
      await this.#finish({ cookie: new Uint8Array(0), flags: this.#flags, cancelled: true }, call);
    } catch (error) {
      // Success itself comes as an error; so does the end of a QEMU that the source has left. What counts is what is
      // left. "Operation invalid": what has this name is no incoming guest, and is not touched.
      if (isLibvirtError(error, 'MIGRATE_FINISH_OK', 'NO_DOMAIN', 'OPERATION_INVALID')) return;
      if (!isLibvirtError(error) || (await this.#isThere(call))) throw translate(error);
    }
  }

  close(): void {
    void this.#connection.close();
  }

  async #isThere(call: CallLimit): Promise<boolean> {
    const options = optionsOf(call);
    const { domains } = this.#connection;
    try {
      return await domains.isActive(await domains.lookupByUuid(this.uuid, options), options);
    } catch (error) {
      if (isLibvirtError(error, 'NO_DOMAIN')) return false;
      throw translate(error);
    }
  }

  async #finish(
    given: { cookie: Uint8Array; flags: number; cancelled: boolean },
    call: CallLimit,
  ): Promise<{ domain: DomainRef; cookie: Uint8Array }> {
    const options = optionsOf(call);
    const destinationName = this.#name ?? (await this.#connection.domains.lookupByUuid(this.uuid, options)).name;
    return this.#connection.migration.finish({ ...given, params: { ...this.#params, destinationName } }, options);
  }
}

function raise(error: unknown): never {
  throw translate(error);
}

function progressOf(stats: JobStats): TransferProgress {
  // Between the phases there is a job without figures.
  const { memoryTotalBytes = 0n } = stats;
  if (stats.type === JobType.NONE || memoryTotalBytes === 0n) throw new HypervisorError('no-job', 'no transfer is under way');
  return {
    memorySentBytes: stats.memoryProcessedBytes ?? 0n,
    memoryRemainingBytes: stats.memoryRemainingBytes ?? 0n,
    memoryTotalBytes,
    dirtyRateBytesPerSecond: BigInt(stats.memoryDirtyPagesPerSecond ?? 0) * BigInt(stats.memoryPageSizeBytes ?? 4096),
    bandwidthBytesPerSecond: stats.memoryBytesPerSecond ?? 0n,
    iteration: stats.memoryIteration ?? 0,
    expectedDowntimeMs: stats.downtimeMs ?? 0,
    elapsedMs: stats.timeElapsedMs ?? 0,
  };
}

/** The net figures leave out the difference of the two hosts' clocks. */
function costOf(stats: JobStats | undefined): TransferStats {
  return {
    downtimeMs: stats?.downtimeNetMs ?? stats?.downtimeMs,
    totalMs: stats?.timeElapsedNetMs ?? stats?.timeElapsedMs,
    memorySentBytes: stats?.memoryProcessedBytes,
    iterations: stats?.memoryIteration,
  };
}
