// SPDX-License-Identifier: Apache-2.0
import type { CallOptions } from './calls.js';
import { procedures } from './procedures.js';
import type { Caller } from './rpc-client.js';

/** A release number such as libvirt's 9000000, taken apart. */
export interface Version {
  readonly major: number;
  readonly minor: number;
  readonly release: number;
}

export interface NodeInfo {
  readonly cpuModel: string;
  readonly memoryBytes: bigint;
  readonly cpus: number;
  /** 0 where it is not known. */
  readonly mhz: number;
  readonly numaNodes: number;
  readonly socketsPerNode: number;
  readonly coresPerSocket: number;
  readonly threadsPerCore: number;
}

/** Which emulator is asked about; what is left out, libvirt chooses. */
export interface DomainCapabilitiesQuery {
  readonly emulator?: string;
  readonly arch?: string;
  readonly machine?: string;
  /** `kvm` or `qemu`. */
  readonly virtType?: string;
}

/** Asks for all of the host's CPUs, or memory nodes, together. */
const WHOLE_HOST = -1;

function version(packed: bigint): Version {
  const number = Number(packed);
  return { major: Math.trunc(number / 1e6), minor: Math.trunc(number / 1e3) % 1e3, release: number % 1e3 };
}

/** The machine that libvirt runs on. */
export class Host {
  readonly #rpc: Caller;

  constructor(rpc: Caller) {
    this.#rpc = rpc;
  }

  async hostname(options?: CallOptions): Promise<string> {
    return (await this.#rpc.call(procedures.connectGetHostname, undefined, options)).hostname;
  }

  /** The URI that the connection ended up with. */
  async uri(options?: CallOptions): Promise<string> {
    return (await this.#rpc.call(procedures.connectGetUri, undefined, options)).uri;
  }

  /** The hypervisor driver's name, e.g. `QEMU`. */
  async driver(options?: CallOptions): Promise<string> {
    return (await this.#rpc.call(procedures.connectGetType, undefined, options)).type;
  }

  async libVersion(options?: CallOptions): Promise<Version> {
    return version((await this.#rpc.call(procedures.connectGetLibVersion, undefined, options)).libVer);
  }

  /** The hypervisor's own version. */
  async version(options?: CallOptions): Promise<Version> {
    return version((await this.#rpc.call(procedures.connectGetVersion, undefined, options)).hvVer);
  }

  /** XML: the host's CPU, its topology, and what can run on it. */
  async capabilities(options?: CallOptions): Promise<string> {
    return (await this.#rpc.call(procedures.connectGetCapabilities, undefined, options)).capabilities;
  }

  /** XML: what one emulator can do. The first call on a fresh libvirtd probes QEMU, which takes seconds. */
  async domainCapabilities(query: DomainCapabilitiesQuery = {}, options?: CallOptions): Promise<string> {
    const { capabilities } = await this.#rpc.call(procedures.connectGetDomainCapabilities, {
      emulatorBin: query.emulator ?? null,
      arch: query.arch ?? null,
      machine: query.machine ?? null,
      virtType: query.virtType ?? null,
      flags: 0,
    }, options);
    return capabilities;
  }

  async nodeInfo(options?: CallOptions): Promise<NodeInfo> {
    const info = await this.#rpc.call(procedures.nodeGetInfo, undefined, options);
    return {
      cpuModel: info.model,
      memoryBytes: info.memory * 1024n,
      cpus: info.cpus,
      mhz: info.mhz,
      numaNodes: info.nodes,
      socketsPerNode: info.sockets,
      coresPerSocket: info.cores,
      threadsPerCore: info.threads,
    };
  }

  async freeMemoryBytes(options?: CallOptions): Promise<bigint> {
    return (await this.#rpc.call(procedures.nodeGetFreeMemory, undefined, options)).freeMem;
  }

  /** Time spent since boot, in nanoseconds, by kind: `kernel`, `user`, `idle`, `iowait`. */
  async cpuTimesNs(options?: CallOptions): Promise<ReadonlyMap<string, bigint>> {
    const query = { cpuNum: WHOLE_HOST, flags: 0 };
    // libvirt wants the number of figures first, and then to be asked for exactly that many.
    const { nparams } = await this.#rpc.call(procedures.nodeGetCpuStats, { ...query, nparams: 0 }, options);
    const { params } = await this.#rpc.call(procedures.nodeGetCpuStats, { ...query, nparams }, options);
    return new Map(params.map(({ field, value }) => [field, value]));
  }

  /** The host's memory in bytes, by kind: `total`, `free`, `buffers`, `cached`. */
  async memoryBytes(options?: CallOptions): Promise<ReadonlyMap<string, bigint>> {
    const query = { cellNum: WHOLE_HOST, flags: 0 };
    const { nparams } = await this.#rpc.call(procedures.nodeGetMemoryStats, { ...query, nparams: 0 }, options);
    const { params } = await this.#rpc.call(procedures.nodeGetMemoryStats, { ...query, nparams }, options);
    return new Map(params.map(({ field, value }) => [field, value * 1024n]));
  }

  /** How the host's CPU compares with the one in `cpuXml`; see `CpuComparison`. */
  async compareCpu(cpuXml: string, flags = 0, options?: CallOptions): Promise<number> {
    return (await this.#rpc.call(procedures.connectCompareCpu, { xml: cpuXml, flags }, options)).result;
  }
}
