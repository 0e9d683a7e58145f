// SPDX-License-Identifier: Apache-2.0
import type { CallOptions } from './calls.js';
import { StatsFlag } from './constants.js';
import { isLibvirtError } from './errors.js';
import { procedures } from './procedures.js';
import type { Caller } from './rpc-client.js';
import { type MemoryStats, readMemoryStats } from './memory-stats.js';
import type { TypedParam } from './typed-params.js';
import type { DomainRef } from './wire-types.js';

export interface StateAndReason {
  /** See `DomainState`. */
  readonly state: number;
  /** See `RunningReason`, `PausedReason`, `ShutOffReason`; which one, the state says. */
  readonly reason: number;
}

export interface DomainInfo {
  /** See `DomainState`. */
  readonly state: number;
  readonly maxMemoryBytes: bigint;
  readonly memoryBytes: bigint;
  readonly vcpus: number;
  readonly cpuTimeNs: bigint;
}

export interface DomainStats {
  readonly domain: DomainRef;
  /** libvirt's names, e.g. `cpu.time`; `paramsToRecord` makes a record of them. */
  readonly params: readonly TypedParam[];
}

export interface StatsQuery {
  /** See `StatsGroup`, combined; 0 is all the hypervisor has. */
  readonly groups?: number;
  /** See `StatsFlag` and `ListFlag`, combined. By default `NOWAIT`: a busy or hung domain gives what is at hand. */
  readonly flags?: number;
  /** Only these; by default all. */
  readonly domains?: readonly DomainRef[];
}

/** A domain's own XML element in a namespace, e.g. a management program's notes. */
export interface MetadataElement {
  readonly uri: string;
  /** The prefix under which libvirt stores the element. */
  readonly key: string;
  /** The element, or null to remove it. */
  readonly xml: string | null;
}

const METADATA_ELEMENT = 2;
const MEMORY_STATS_WANTED = 64;

/** Domains: libvirt's word for virtual machines, running or only defined. */
export class Domains {
  readonly #rpc: Caller;

  constructor(rpc: Caller) {
    this.#rpc = rpc;
  }

  /** Flags of `ListFlag`, combined; 0 is all. */
  async list(flags = 0, options?: CallOptions): Promise<DomainRef[]> {
    return (await this.#rpc.call(procedures.connectListAllDomains, { needResults: 1, flags }, options)).domains;
  }

  /** @throws LibvirtError `NO_DOMAIN` */
  async lookupByName(name: string, options?: CallOptions): Promise<DomainRef> {
    return (await this.#rpc.call(procedures.domainLookupByName, { name }, options)).dom;
  }

  /** @throws LibvirtError `NO_DOMAIN` */
  async lookupByUuid(uuid: string, options?: CallOptions): Promise<DomainRef> {
    return (await this.#rpc.call(procedures.domainLookupByUuid, { uuid }, options)).dom;
  }

  /** Defines or redefines; does not start. Flags of `DefineFlag`. */
  async defineXml(xml: string, flags = 0, options?: CallOptions): Promise<DomainRef> {
    return (await this.#rpc.call(procedures.domainDefineXmlFlags, { xml, flags }, options)).dom;
  }

  /** Starts a domain without defining it: it is gone when it stops. Flags of `StartFlag`. */
  async createXml(xml: string, flags = 0, options?: CallOptions): Promise<DomainRef> {
    return (await this.#rpc.call(procedures.domainCreateXml, { xmlDesc: xml, flags }, options)).dom;
  }

  /** Starts a defined domain; answers with its new `id`. Flags of `StartFlag`. */
  async start(domain: DomainRef, flags = 0, options?: CallOptions): Promise<DomainRef> {
    return (await this.#rpc.call(procedures.domainCreateWithFlags, { dom: domain, flags }, options)).dom;
  }

  /** Takes the power away. Flags of `DestroyFlag`. */
  async destroy(domain: DomainRef, flags = 0, options?: CallOptions): Promise<void> {
    await this.#rpc.call(procedures.domainDestroyFlags, { dom: domain, flags }, options);
  }

  /** Asks the guest to shut down, and does not wait for it. Flags of `ShutdownFlag`. */
  async shutdown(domain: DomainRef, flags = 0, options?: CallOptions): Promise<void> {
    await this.#rpc.call(procedures.domainShutdownFlags, { dom: domain, flags }, options);
  }

  /** Asks the guest to reboot, and does not wait for it. Flags of `ShutdownFlag`. */
  async reboot(domain: DomainRef, flags = 0, options?: CallOptions): Promise<void> {
    await this.#rpc.call(procedures.domainReboot, { dom: domain, flags }, options);
  }

  /** Presses the reset button: the guest starts anew at once. */
  async reset(domain: DomainRef, options?: CallOptions): Promise<void> {
    await this.#rpc.call(procedures.domainReset, { dom: domain, flags: 0 }, options);
  }

  async suspend(domain: DomainRef, options?: CallOptions): Promise<void> {
    await this.#rpc.call(procedures.domainSuspend, { dom: domain }, options);
  }

  async resume(domain: DomainRef, options?: CallOptions): Promise<void> {
    await this.#rpc.call(procedures.domainResume, { dom: domain }, options);
  }

  /** Whether libvirt starts it by itself when its host boots. */
  async setAutostart(domain: DomainRef, autostart: boolean, options?: CallOptions): Promise<void> {
    await this.#rpc.call(procedures.domainSetAutostart, { dom: domain, autostart: autostart ? 1 : 0 }, options);
  }

  /** Removes the definition; a running domain runs on without one. Flags of `UndefineFlag`. */
  async undefine(domain: DomainRef, flags = 0, options?: CallOptions): Promise<void> {
    await this.#rpc.call(procedures.domainUndefineFlags, { dom: domain, flags }, options);
  }

  /** Flags of `XmlFlag`; `SECURE` includes passwords. */
  async xml(domain: DomainRef, flags = 0, options?: CallOptions): Promise<string> {
    return (await this.#rpc.call(procedures.domainGetXmlDesc, { dom: domain, flags }, options)).xml;
  }

  async info(domain: DomainRef, options?: CallOptions): Promise<DomainInfo> {
    const info = await this.#rpc.call(procedures.domainGetInfo, { dom: domain }, options);
    return {
      state: info.state,
      maxMemoryBytes: info.maxMem * 1024n,
      memoryBytes: info.memory * 1024n,
      vcpus: info.nrVirtCpu,
      cpuTimeNs: info.cpuTime,
    };
  }

  async state(domain: DomainRef, options?: CallOptions): Promise<StateAndReason> {
    return this.#rpc.call(procedures.domainGetState, { dom: domain, flags: 0 }, options);
  }

  async isActive(domain: DomainRef, options?: CallOptions): Promise<boolean> {
    return (await this.#rpc.call(procedures.domainIsActive, { dom: domain }, options)).active;
  }

  async isPersistent(domain: DomainRef, options?: CallOptions): Promise<boolean> {
    return (await this.#rpc.call(procedures.domainIsPersistent, { dom: domain }, options)).persistent;
  }

  /** Asks QEMU, so it hangs with a hung QEMU: give it a deadline. */
  async memoryStats(domain: DomainRef, options?: CallOptions): Promise<MemoryStats> {
    const args = { dom: domain, maxStats: MEMORY_STATS_WANTED, flags: 0 };
    return readMemoryStats((await this.#rpc.call(procedures.domainMemoryStats, args, options)).stats);
  }

  async allStats(query: StatsQuery = {}, options?: CallOptions): Promise<DomainStats[]> {
    const { retStats } = await this.#rpc.call(procedures.connectGetAllDomainStats, {
      doms: [...(query.domains ?? [])],
      stats: query.groups ?? 0,
      flags: query.flags ?? StatsFlag.NOWAIT,
    }, options);
    return retStats.map(({ dom, params }) => ({ domain: dom, params }));
  }

  /** The domain's element in the namespace `uri`, or null. Flags of `AffectFlag`. */
  async metadata(domain: DomainRef, uri: string, flags = 0, options?: CallOptions): Promise<string | null> {
    const args = { dom: domain, type: METADATA_ELEMENT, uri, flags };
    try {
      return (await this.#rpc.call(procedures.domainGetMetadata, args, options)).metadata;
    } catch (error) {
      if (isLibvirtError(error, 'NO_DOMAIN_METADATA')) return null;
      throw error;
    }
  }

  /** Sets or removes the domain's element in a namespace. Flags of `AffectFlag`. */
  async setMetadata(domain: DomainRef, element: MetadataElement, flags = 0, options?: CallOptions): Promise<void> {
    const { uri, key, xml } = element;
    const args = { dom: domain, type: METADATA_ELEMENT, metadata: xml, key, uri, flags };
    await this.#rpc.call(procedures.domainSetMetadata, args, options);
  }
}
