// SPDX-License-Identifier: Apache-2.0
import { LockstepError } from '../../core/errors/catalogue.js';
import { needsOf, type DomainNeeds } from '../../core/domain-xml/devices.js';
import { withPlacementEpoch, withUuid } from '../../core/domain-xml/epoch.js';
import { type DomainSummary, parseDomainXml } from '../../core/domain-xml/parse.js';
import type { Clock } from '../clock/clock.js';
import type { Random } from '../random/random.js';
import { EventFeed } from './event-feed.js';
import { type Domain, type DomainUsage, HypervisorError, type MemoryUse } from './hypervisor.js';
import { type EndReason, type MemoryImage, SimulatedGuest } from './simulated-guest.js';
import type { SimulatedImages } from './simulated-images.js';

/** The size of a simulated host. */
export interface MachineSize {
  cpus: number;
  memoryBytes: bigint;
}

type Summary = DomainSummary & Pick<DomainNeeds, 'rbdImages' | 'lockedFiles'>;

/** What definitions say, by their text: the same few are asked for again and again. */
const summaries = new Map<string, Summary>();
const MOST_SUMMARIES = 1_024;

function summaryOf(xml: string): Summary {
  const known = summaries.get(xml);
  if (known !== undefined) return known;
  if (summaries.size >= MOST_SUMMARIES) summaries.clear();
  const { rbdImages, lockedFiles } = needsOf(xml);
  const summary = { ...parseDomainXml(xml), rbdImages, lockedFiles };
  summaries.set(xml, summary);
  return summary;
}

/**
 * What outlives every agent and the hypervisor's own process: the guests, and the definitions on disk. Its methods
 * are what the hypervisor does with them, at once; nothing here knows of connections.
 */
export class SimulatedMachine {
  readonly feed = new EventFeed();
  /** Copies with a process, running or not. */
  readonly guests = new Map<string, SimulatedGuest>();
  /** By UUID; they survive a loss of power. */
  readonly definitions = new Map<string, string>();
  /** UUIDs of those that start by themselves when the host boots. */
  readonly autostarting = new Set<string>();

  /** Its disk is full: no definition can be written. */
  diskFull = false;

  readonly #lastEnd = new Map<string, EndReason>();
  /** UUIDs whose guest a migration has hold of: nobody else may change it. */
  readonly #held = new Set<string>();

  constructor(
    readonly name: string,
    readonly size: MachineSize,
    readonly clock: Clock,
    private readonly random: Random,
    private readonly images: SimulatedImages,
    private readonly tell: (change: { uuid: string; running: boolean; memory: MemoryImage; what: string }) => void,
  ) {
    images.attach(() => [...this.guests.values()].map((guest) => ({ guest, lockedFiles: summaryOf(guest.xml).lockedFiles })));
  }

  // -- what is there

  list(): Domain[] {
    const uuids = new Set([...this.definitions.keys(), ...this.guests.keys()]);
    return [...uuids].map((uuid) => this.find(uuid)).filter((domain) => domain !== undefined);
  }

  find(uuid: string): Domain | undefined {
    const guest = this.guests.get(uuid);
    const xml = guest?.xml ?? this.definitions.get(uuid);
    if (xml === undefined) return undefined;
    const summary = summaryOf(xml);
    return {
      uuid,
      name: summary.name,
      state: guest?.state ?? { state: 'off', reason: this.#lastEnd.get(uuid) ?? 'other' },
      persistent: this.definitions.has(uuid),
      placementEpoch: summary.placementEpoch,
      maxMemoryBytes: summary.memoryBytes,
      vcpus: summary.vcpus,
      rbdImages: summary.rbdImages,
    };
  }

  usage(): DomainUsage[] {
    return [...this.guests.values()]
      .filter((guest) => !guest.frozen)
      .map((guest) => ({
        uuid: guest.uuid,
        cpuTimeNs: BigInt(Math.round(guest.memory().ranMs * guest.behaviour.load * 1e6)),
        memoryUsedBytes: BigInt(Math.round(guest.residentBytes)),
      }));
  }

  memoryUse(uuid: string): MemoryUse {
    const guest = this.guest(uuid);
    // Pages written to in a second: never more than it writes to at all.
    const dirtied = guest.running ? Math.min(guest.behaviour.dirtyRateBytesPerSecond, guest.workingSetBytes) : 0;
    return { dirtyRateBytesPerSecond: BigInt(Math.round(dirtied)), touchedBytes: BigInt(Math.round(guest.residentBytes)) };
  }

  xml(uuid: string, which: 'live' | 'inactive'): string {
    const live = this.guests.get(uuid)?.xml;
    const defined = this.definitions.get(uuid);
    return (which === 'live' ? (live ?? defined) : (defined ?? live)) ?? raiseGone(uuid);
  }

  guest(uuid: string): SimulatedGuest {
    const guest = this.guests.get(uuid);
    if (guest !== undefined) return guest;
    if (!this.definitions.has(uuid)) raiseGone(uuid);
    throw new HypervisorError('refused', 'Requested operation is not valid: domain is not running');
  }

  // -- definitions

  define(xml: string): Domain {
    const { summary, uuid, named } = this.#read(xml);
    const holder = this.list().find((domain) => domain.name === summary.name && domain.uuid !== uuid);
    if (holder !== undefined) {
      throw new HypervisorError('failed', `domain '${summary.name}' already exists with uuid ${holder.uuid}`);
    }
    this.keepDefinition(uuid, named);
    this.#changed(uuid, 'defined');
    return this.find(uuid) ?? raiseGone(uuid);
  }

  /** Writes a definition to disk. */
  keepDefinition(uuid: string, xml: string): void {
    if (this.diskFull) throw new HypervisorError('failed', `cannot write the config file of domain '${uuid}': No space left on device`);
    this.definitions.set(uuid, xml);
  }

  stampEpoch(uuid: string, placementEpoch: bigint): void {
    const guest = this.guests.get(uuid);
    const defined = this.definitions.get(uuid);
    if (guest === undefined && defined === undefined) raiseGone(uuid);
    this.#refuseHeld(uuid);
    if (defined !== undefined) this.keepDefinition(uuid, withPlacementEpoch(defined, placementEpoch));
    if (guest !== undefined) guest.xml = withPlacementEpoch(guest.xml, placementEpoch);
    this.#changed(uuid, 'stamped');
  }

  disableAutostart(uuid: string): void {
    if (this.find(uuid) === undefined) raiseGone(uuid);
    this.autostarting.delete(uuid);
  }

  undefine(uuid: string): void {
    this.#refuseHeld(uuid);
    this.autostarting.delete(uuid);
    if (this.definitions.delete(uuid)) this.#changed(uuid, 'undefined');
  }

  checkFit(xml: string): void {
    const { summary } = this.#read(xml);
    if (summary.memoryBytes > this.size.memoryBytes) {
      const had = `the host has ${String(this.size.memoryBytes)} bytes`;
      throw new HypervisorError('refused', `the domain needs ${String(summary.memoryBytes)} bytes of memory, ${had}`);
    }
  }

  // -- running

  start(uuid: string): void {
    const xml = this.definitions.get(uuid);
    if (this.guests.has(uuid)) throw new HypervisorError('refused', 'domain is already running');
    if (xml === undefined) return raiseGone(uuid);
    this.reserve(xml);
    const locked = this.images.lockedOf(summaryOf(xml).lockedFiles);
    if (locked !== undefined) {
      throw new HypervisorError('locked', `internal error: Failed to get "write" lock\nIs another process using the image [${locked}]?`);
    }
    this.spawn({ uuid, xml, running: true });
    this.#changed(uuid, 'started (booted)');
  }

  /** Fails with `failed` where the running copies leave too little memory for another. */
  reserve(xml: string): void {
    const taken = [...this.guests.values()].reduce((sum, guest) => sum + BigInt(guest.memoryBytes), 0n);
    if (taken + summaryOf(xml).memoryBytes > this.size.memoryBytes) {
      throw new HypervisorError('failed', 'internal error: qemu unexpectedly closed the monitor: cannot allocate memory');
    }
  }

  spawn({ uuid, xml, running }: { uuid: string; xml: string; running: boolean }): SimulatedGuest {
    const guest = new SimulatedGuest({
      clock: this.clock,
      xml,
      uuid,
      boot: this.random.uuid(),
      state: running ? { state: 'running', reason: 'ordinary' } : { state: 'paused', reason: 'migration' },
      onChange: (changed, what) => {
        if (!changed.alive && this.guests.get(uuid) === changed) {
          this.guests.delete(uuid);
          if (changed.state.state === 'off') this.#lastEnd.set(uuid, changed.state.reason);
        }
        this.tell({ uuid, running: changed.running, memory: changed.memory(), what });
        this.#changed(uuid, what);
      },
    });
    this.guests.set(uuid, guest);
    this.tell({ uuid, running: guest.running, memory: guest.memory(), what: 'spawned' });
    return guest;
  }

  async shutdown(uuid: string): Promise<void> {
    const guest = this.guest(uuid);
    await guest.answers();
    this.#shutDown(guest, () => {
      guest.end('shutdown');
    });
  }

  async reboot(uuid: string): Promise<void> {
    const guest = this.guest(uuid);
    await guest.answers();
    this.#shutDown(guest, () => {
      guest.become({ state: 'running', reason: 'ordinary' }, 'rebooted');
      guest.boot(this.random.uuid());
    });
  }

  async reset(uuid: string): Promise<void> {
    const guest = this.guest(uuid);
    await guest.answers();
    this.#refuseHeld(uuid);
    guest.boot(this.random.uuid());
  }

  destroy(uuid: string): void {
    this.guests.get(uuid)?.end('destroyed');
  }

  async resume(uuid: string): Promise<void> {
    const guest = this.guest(uuid);
    await guest.answers();
    this.#refuseHeld(uuid);
    if (guest.state.state === 'paused') guest.become({ state: 'running', reason: 'ordinary' }, 'resumed (unpaused)');
  }

  hold(uuid: string): void {
    this.#held.add(uuid);
  }

  release(uuid: string): void {
    this.#held.delete(uuid);
  }

  /** The host has booted. */
  autostart(): void {
    for (const uuid of this.autostarting) this.start(uuid);
  }

  /** Power is gone: every process with it. */
  losePower(): void {
    for (const guest of [...this.guests.values()]) guest.end('crashed');
    this.#held.clear();
    this.#lastEnd.clear();
  }

  #shutDown(guest: SimulatedGuest, then: () => void): void {
    if (!guest.behaviour.obeysShutdown || guest.state.state !== 'running') return;
    guest.become({ state: 'shutting-down' }, 'shutting down');
    this.clock.after(guest.behaviour.shutdownMs, () => {
      if (guest.alive && guest.state.state === 'shutting-down') then();
    });
  }

  #read(xml: string): { summary: DomainSummary; uuid: string; named: string } {
    try {
      const summary = summaryOf(xml);
      const uuid = summary.uuid ?? this.random.uuid();
      return { summary, uuid, named: summary.uuid === undefined ? withUuid(xml, uuid) : xml };
    } catch (error) {
      if (error instanceof LockstepError) throw new HypervisorError('invalid', error.message, { cause: error });
      throw error;
    }
  }

  #refuseHeld(uuid: string): void {
    if (this.#held.has(uuid)) {
      throw new HypervisorError('refused', 'cannot acquire state change lock (held by a migration)');
    }
  }

  #changed(uuid: string, what: string): void {
    this.feed.emit({ kind: 'changed', uuid, what });
  }
}

function raiseGone(uuid: string): never {
  throw new HypervisorError('gone', `Domain not found: no domain with matching uuid '${uuid}'`);
}
