// SPDX-License-Identifier: Apache-2.0
import {
  type Connection,
  type CallOptions,
  type DomainRef,
  DomainState as LibvirtState,
  isLibvirtError,
  ListFlag,
  PausedReason,
  paramsToRecord,
  RunningReason,
  ShutOffReason,
  type StateAndReason,
  StatsFlag,
  StatsGroup,
} from '@lockstep/node-libvirt';
import { needsOf } from '../../core/domain-xml/devices.js';
import { LockstepError } from '../../core/errors/catalogue.js';
import { parseDomainXml } from '../../core/domain-xml/parse.js';
import type { Clock } from '../clock/clock.js';
import type { Domain, DomainEvent, DomainState } from './hypervisor.js';

/**
 * Of the four calls that a connection may have open: so an order does not wait until hundreds of domains are read, and
 * no more of them wait than a connection lets wait.
 */
const READ_AT_ONCE = 3;

/** What of a domain stands in its XML. */
type Defined = Pick<Domain, 'name' | 'placementEpoch' | 'maxMemoryBytes' | 'vcpus' | 'rbdImages'>;

/**
 * How long a domain that does not run is listed from what was read of it, while no event tells of it. Some changes, such
 * as a virsh metadata of somebody's own, have no event that is listened to.
 */
const FRESH_MS = 5 * 60_000;

interface Known {
  xml: string;
  defined: Defined;
  /** Listed without reading again before this moment; see {@link DomainReader.heed}. */
  freshUntilMs: number;
}

/**
 * Reads domains from libvirt. Keeps what it read from each XML: reading and parsing hundreds at every tick would cost
 * much. Only `list` trusts what is kept, and only of domains that do not run; whoever acts on one domain finds it anew.
 */
export class DomainReader {
  readonly #known = new Map<string, Known>();
  /** By domain: how many events told of it. What was read before one is not kept as fresh. */
  readonly #heeded = new Map<string, number>();
  #resyncs = 0;

  constructor(private readonly clock: Clock) {}

  /** What was read of these domains may be wrong from now on. */
  heed(event: DomainEvent): void {
    if (event.kind === 'resync') {
      this.#resyncs += 1;
      this.#heeded.clear();
      for (const known of this.#known.values()) known.freshUntilMs = 0;
    } else {
      this.forget(event.uuid);
    }
  }

  forget(uuid: string): void {
    this.#heeded.set(uuid, (this.#heeded.get(uuid) ?? 0) + 1);
    const known = this.#known.get(uuid);
    if (known !== undefined) known.freshUntilMs = 0;
  }

  async list(connection: Connection, options: CallOptions): Promise<Domain[]> {
    const refs = await connection.domains.list(0, options);
    const transient = new Set((await connection.domains.list(ListFlag.TRANSIENT, options)).map(({ uuid }) => uuid));
    const states = await readStates(connection, options);
    const domains: (Domain | undefined)[] = [];
    const left = refs.values();
    const readOn = async (): Promise<void> => {
      for (const ref of left) {
        domains.push(await this.#read(connection, options, ref, !transient.has(ref.uuid), states.get(ref.uuid)));
      }
    };
    await Promise.all(Array.from({ length: READ_AT_ONCE }, readOn));
    const listed = new Set(refs.map(({ uuid }) => uuid));
    for (const kept of [this.#known, this.#heeded]) {
      for (const uuid of kept.keys()) if (!listed.has(uuid)) kept.delete(uuid);
    }
    return domains.filter((domain) => domain !== undefined);
  }

  async find(connection: Connection, options: CallOptions, uuid: string): Promise<Domain | undefined> {
    const ref = await unlessGone(connection.domains.lookupByUuid(uuid, options));
    if (ref === undefined) return undefined;
    const persistent = await unlessGone(connection.domains.isPersistent(ref, options));
    return persistent === undefined ? undefined : this.#read(connection, options, ref, persistent, undefined);
  }

  /** Undefined: it vanished meanwhile. */
  async #read(
    connection: Connection,
    options: CallOptions,
    ref: DomainRef,
    persistent: boolean,
    listed: StateAndReason | undefined,
  ): Promise<Domain | undefined> {
    const known = this.#known.get(ref.uuid);
    if (known !== undefined && listed?.state === LibvirtState.SHUT_OFF && this.clock.nowMs() < known.freshUntilMs) {
      return { uuid: ref.uuid, state: stateOf(listed), persistent, ...known.defined };
    }
    const heard = this.#heard(ref.uuid);
    const xml = await unlessGone(connection.domains.xml(ref, 0, options));
    if (xml === undefined) return undefined;
    const state = listed ?? (await unlessGone(connection.domains.state(ref, options)));
    const defined = await unlessGone(this.#defined(connection, options, ref, xml));
    if (state === undefined || defined === undefined) return undefined;
    const read = this.#known.get(ref.uuid);
    if (read !== undefined && this.#heard(ref.uuid) === heard) read.freshUntilMs = this.clock.nowMs() + FRESH_MS;
    return { uuid: ref.uuid, state: stateOf(state), persistent, ...defined };
  }

  #heard(uuid: string): string {
    return `${String(this.#resyncs)}/${String(this.#heeded.get(uuid) ?? 0)}`;
  }

  async #defined(connection: Connection, options: CallOptions, ref: DomainRef, xml: string): Promise<Defined> {
    const known = this.#known.get(ref.uuid);
    if (known?.xml === xml) return known.defined;
    const defined = readDefined(xml) ?? (await definedElsewhere(connection, options, ref));
    this.#known.set(ref.uuid, { xml, defined, freshUntilMs: 0 });
    return defined;
  }
}

function readDefined(xml: string): Defined | undefined {
  try {
    const { name, placementEpoch, memoryBytes, vcpus } = parseDomainXml(xml);
    return { name, placementEpoch, maxMemoryBytes: memoryBytes, vcpus, rbdImages: needsOf(xml).rbdImages };
  } catch (error) {
    if (error instanceof LockstepError) return undefined;
    throw error;
  }
}

/** A domain that libvirt took and we would not: not ours, but its memory is used all the same. */
async function definedElsewhere(connection: Connection, options: CallOptions, ref: DomainRef): Promise<Defined> {
  const { maxMemoryBytes, vcpus } = await connection.domains.info(ref, options);
  return { name: ref.name, placementEpoch: undefined, maxMemoryBytes, vcpus };
}

async function readStates(connection: Connection, options: CallOptions): Promise<Map<string, StateAndReason>> {
  const all = await connection.domains.allStats({ groups: StatsGroup.STATE, flags: StatsFlag.NOWAIT }, options);
  const states = new Map<string, StateAndReason>();
  for (const { domain, params } of all) {
    const figures = paramsToRecord(params);
    const state = figures['state.state'];
    const reason = figures['state.reason'];
    if (typeof state === 'number' && typeof reason === 'number') states.set(domain.uuid, { state, reason });
  }
  return states;
}

async function unlessGone<T>(work: Promise<T>): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (isLibvirtError(error, 'NO_DOMAIN')) return undefined;
    throw error;
  }
}

const PAUSED: Readonly<Record<number, Extract<DomainState, { state: 'paused' }>['reason']>> = {
  [PausedReason.USER]: 'user',
  [PausedReason.MIGRATION]: 'migration',
  [PausedReason.POSTCOPY]: 'migration',
  [PausedReason.IO_ERROR]: 'io-error',
  [PausedReason.STARTING_UP]: 'starting-up',
  [PausedReason.POSTCOPY_FAILED]: 'post-copy-failed',
};

const OFF: Readonly<Record<number, Extract<DomainState, { state: 'off' }>['reason']>> = {
  [ShutOffReason.SHUTDOWN]: 'shutdown',
  [ShutOffReason.DESTROYED]: 'destroyed',
  [ShutOffReason.CRASHED]: 'crashed',
  [ShutOffReason.FAILED]: 'failed',
  [ShutOffReason.MIGRATED]: 'migrated',
};

/** libvirt's state in the port's words. A panicked or sleeping guest has a process that stands still: paused. */
export function stateOf({ state, reason }: StateAndReason): DomainState {
  switch (state) {
    case LibvirtState.RUNNING:
    case LibvirtState.BLOCKED: {
      const postCopy = state === LibvirtState.RUNNING && POST_COPY.has(reason);
      return { state: 'running', reason: postCopy ? 'post-copy' : 'ordinary' };
    }
    case LibvirtState.PAUSED:
      return { state: 'paused', reason: PAUSED[reason] ?? 'other' };
    case LibvirtState.CRASHED:
    case LibvirtState.PM_SUSPENDED:
      return { state: 'paused', reason: 'other' };
    case LibvirtState.SHUTTING_DOWN:
      return { state: 'shutting-down' };
    default:
      return { state: 'off', reason: OFF[reason] ?? 'other' };
  }
}

const POST_COPY: ReadonlySet<number> = new Set([RunningReason.POSTCOPY, RunningReason.POSTCOPY_FAILED]);
