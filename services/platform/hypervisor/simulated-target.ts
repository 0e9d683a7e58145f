// SPDX-License-Identifier: Apache-2.0
import { type DomainDefinitions, HypervisorError, type TransferStats } from './hypervisor.js';
import { cookieOf, readPerformCookie } from './simulated-cookie.js';
import type { SimulatedConnection } from './simulated-daemon.js';
import type { MemoryImage, SimulatedGuest } from './simulated-guest.js';
import type { SimulatedMachine } from './simulated-machine.js';
import type { IncomingStream } from './simulated-transfer.js';

/** QEMU's migration ports, as libvirt hands them out. */
const FIRST_PORT = 49_152;
const PORTS = 64;

/** A prepared guest: a process with memory reserved, which listens. */
class IncomingGuest implements IncomingStream {
  readonly guest: SimulatedGuest;
  readonly port: number;
  /** Its user's pause travels along. */
  readonly stayPaused: boolean;
  readonly persistentXml: string;
  /** It does not outlive this connection. */
  readonly owner: SimulatedConnection;
  received: 'nothing' | 'enough' | 'all' | 'broken' = 'nothing';
  power = true;
  readonly #watchers = new Set<() => void>();

  constructor(input: {
    guest: SimulatedGuest;
    port: number;
    stayPaused: boolean;
    persistentXml: string;
    owner: SimulatedConnection;
  }) {
    this.guest = input.guest;
    this.owner = input.owner;
    this.port = input.port;
    this.stayPaused = input.stayPaused;
    this.persistentXml = input.persistentXml;
    this.guest.watch(() => {
      this.changed();
    });
  }

  get state(): 'open' | 'reset' | 'silent' {
    if (!this.power) return 'silent';
    if (!this.guest.alive) return 'reset';
    return this.guest.frozen ? 'silent' : 'open';
  }

  complete(image: MemoryImage): void {
    if (this.received === 'nothing') this.guest.receive(image);
    this.received = 'all';
    this.changed();
  }

  beginPostCopy(image: MemoryImage): void {
    this.guest.receive(image);
    this.received = 'enough';
    this.changed();
  }

  breakOff(): void {
    if (this.received === 'enough') {
      this.guest.become({ state: 'paused', reason: 'post-copy-failed' }, 'suspended (post-copy failed)');
    } else if (this.received === 'nothing') {
      // QEMU ends when the stream breaks off.
      this.guest.end('failed');
    }
    if (this.received !== 'all') this.received = 'broken';
    this.changed();
  }

  whenChanged(listener: () => void): () => void {
    this.#watchers.add(listener);
    return () => {
      this.#watchers.delete(listener);
    };
  }

  changed(): void {
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** Waits until more has arrived than `than`; false: the stream broke off instead. */
  async settled(...than: ('nothing' | 'enough')[]): Promise<boolean> {
    const waits: string[] = than;
    while (waits.includes(this.received) && this.guest.alive) {
      await new Promise<void>((resolve) => {
        const leave = this.whenChanged(() => {
          leave();
          resolve();
        });
      });
    }
    return this.received !== 'broken' && this.guest.alive;
  }
}

/** The target's side of migrations as the hypervisor keeps it. */
export class SimulatedTarget {
  readonly #machine: SimulatedMachine;
  readonly #incoming = new Map<string, IncomingGuest>();

  constructor(machine: SimulatedMachine) {
    this.#machine = machine;
  }

  prepare(
    uuid: string,
    input: DomainDefinitions & { paused: boolean },
    connection: SimulatedConnection,
  ): { uri: string; cookie: Uint8Array } {
    // The client was gone before the daemon came to it; its guest would live for ever.
    if (connection.lost.aborted) throw new HypervisorError('failed', 'the connection is closed');
    if (this.#machine.guests.has(uuid)) throw new HypervisorError('failed', 'domain is already active');
    this.#machine.reserve(input.liveXml);
    const port = this.#freePort();
    const guest = this.#machine.spawn({ uuid, xml: input.liveXml, running: false });
    this.#machine.hold(uuid);
    const { paused: stayPaused, persistentXml } = input;
    const incoming = new IncomingGuest({ guest, port, stayPaused, persistentXml, owner: connection });
    this.#incoming.set(uuid, incoming);
    const leave = guest.watch(() => {
      if (guest.alive) return;
      leave();
      this.#forget(incoming);
    });
    return { uri: `sim://${this.#machine.name}:${String(port)}`, cookie: cookieOf({ uuid }) };
  }

  async finish(uuid: string, cookie: Uint8Array): Promise<{ cookie: Uint8Array; stats: TransferStats }> {
    const incoming = this.#incoming.get(uuid);
    if (incoming === undefined) {
      const kind = this.#machine.guests.has(uuid) ? 'no-job' : 'gone';
      throw new HypervisorError(kind, `domain '${uuid}' is not processing incoming migration`);
    }
    await incoming.guest.answers();
    const told = readPerformCookie(cookie, uuid);
    const incomplete = new HypervisorError('failed', 'the migration failed: memory is incomplete');
    if (!(await incoming.settled('nothing'))) throw incomplete;
    const { guest } = incoming;
    const runs = !incoming.stayPaused;
    if (runs && incoming.received === 'enough') {
      guest.become({ state: 'running', reason: 'post-copy' }, 'resumed (post-copy)');
      if (!(await incoming.settled('enough'))) throw incomplete;
    }
    this.#forget(incoming);
    try {
      this.#machine.keepDefinition(uuid, incoming.persistentXml);
    } catch (error) {
      // What cannot be made persistent is not let run.
      guest.end('failed');
      throw error;
    }
    if (runs) guest.become({ state: 'running', reason: 'ordinary' }, 'resumed (migrated)');
    else guest.become({ state: 'paused', reason: 'user' }, 'suspended (paused)');
    const nowMs = this.#machine.clock.nowMs();
    const stats: TransferStats =
      told === undefined
        ? { downtimeMs: undefined, totalMs: undefined, memorySentBytes: undefined, iterations: undefined }
        : {
            downtimeMs: Math.round(nowMs - told.cost.pausedMs),
            totalMs: Math.round(nowMs - told.cost.startedMs),
            memorySentBytes: BigInt(told.cost.sentBytes),
            iterations: told.cost.iterations,
          };
    return { cookie: cookieOf({ uuid }), stats };
  }

  /** Gives an incoming guest up. Never touches one that was finished. */
  cancel(uuid: string): void {
    this.#incoming.get(uuid)?.guest.end('failed');
  }

  /** What the hypervisor does when a connection closes that prepared a guest. */
  connectionClosed(uuid: string, connection: SimulatedConnection): void {
    if (this.#incoming.get(uuid)?.owner === connection) this.cancel(uuid);
  }

  /** Finds what listens at a port; for the network. */
  at(port: number): IncomingStream | undefined {
    return [...this.#incoming.values()].find((incoming) => incoming.port === port && incoming.received === 'nothing');
  }

  /** The hypervisor's process starts again and destroys what was prepared. */
  recover(): void {
    for (const uuid of [...this.#incoming.keys()]) this.cancel(uuid);
  }

  losePower(): void {
    for (const incoming of this.#incoming.values()) {
      incoming.power = false;
      incoming.changed();
    }
    this.#incoming.clear();
  }

  #freePort(): number {
    for (let port = FIRST_PORT; port < FIRST_PORT + PORTS; port++) if (this.at(port) === undefined) return port;
    throw new HypervisorError('failed', 'no migration port is free');
  }

  #forget(incoming: IncomingGuest): void {
    if (this.#incoming.get(incoming.guest.uuid) !== incoming) return;
    this.#incoming.delete(incoming.guest.uuid);
    this.#machine.release(incoming.guest.uuid);
  }
}
