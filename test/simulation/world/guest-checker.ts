// SPDX-License-Identifier: Apache-2.0
import type { CopyChange, MemoryImage } from '@lockstep/services/platform/hypervisor/simulated.js';
import type { Violations } from './violations.js';

/** Clocks of the simulation are floating-point numbers. */
const TOLERANCE_MS = 0.001;

/** What a guest tells that stands by its user's wish. */
const PAUSED = 'suspended (paused)';

/**
 * A VM's disk, which all hosts share: whoever runs writes to it. It remembers how far the memory had come that wrote
 * last, so that memory of before is recognised when it writes again.
 */
interface Disk {
  /** Who wrote last. */
  host: string;
  boot: string;
  ranMs: number;
  /** Boots whose memory must never run again. */
  over: Set<string>;
}

/** INV-1 and INV-8, seen from outside: who runs, and with which memory over which disk. */
export class GuestChecker {
  readonly #running = new Map<string, Set<string>>();
  readonly #disks = new Map<string, Disk>();

  constructor(private readonly violations: Violations) {}

  /** Hosts on which vCPUs of a VM run now. */
  runningOn(uuid: string): string[] {
    return [...(this.#running.get(uuid) ?? [])];
  }

  /** The host on which vCPUs of a VM ran last, or run, or stand by their user's wish; undefined: they never did. */
  lastRanOn(uuid: string): string | undefined {
    return this.#disks.get(uuid)?.host;
  }

  observe({ uuid, host, running, memory, what }: CopyChange): void {
    const hosts = this.#running.get(uuid) ?? new Set<string>();
    this.#running.set(uuid, hosts);
    const ran = hosts.has(host);
    if (running) hosts.add(host);
    else hosts.delete(host);
    if (hosts.size > 1) {
      this.violations.report('INV-1', `VM ${uuid.slice(0, 8)} runs on ${[...hosts].join(' and ')} (${host}: ${what})`);
    }
    // A guest that its user paused arrives as one that stands: nothing of it runs there, and it is there all the same.
    if (running || what === PAUSED) this.#writes(uuid, host, memory, what);
    if (!running && ran) this.#wrote(uuid, memory);
  }

  /** A copy begins to run, or boots. */
  #writes(uuid: string, host: string, { boot, ranMs }: MemoryImage, what: string): void {
    const disk = this.#disks.get(uuid);
    if (disk === undefined) {
      this.#disks.set(uuid, { host, boot, ranMs, over: new Set() });
      return;
    }
    const rewinds = disk.boot === boot ? ranMs + TOLERANCE_MS < disk.ranMs : disk.over.has(boot);
    if (rewinds) {
      const has = `memory of boot ${boot.slice(-4)} at ${ranMs.toFixed(1)} ms`;
      const late = `boot ${disk.boot.slice(-4)} at ${disk.ranMs.toFixed(1)} ms`;
      this.violations.report('INV-8', `VM ${uuid.slice(0, 8)} on ${host} (${what}) runs ${has}, but its disk was written by ${late}`);
    }
    if (disk.boot !== boot) disk.over.add(disk.boot);
    Object.assign(disk, { host, boot, ranMs });
  }

  #wrote(uuid: string, { boot, ranMs }: MemoryImage): void {
    const disk = this.#disks.get(uuid);
    if (disk?.boot === boot && ranMs > disk.ranMs) disk.ranMs = ranMs;
  }
}
