// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../clock/clock.js';
import type { Random } from '../random/random.js';
import type { Hypervisor, HypervisorInfo } from './hypervisor.js';
import { type CallLatency, SimulatedDaemon } from './simulated-daemon.js';
import type { SimulatedGuest } from './simulated-guest.js';
import { SimulatedHypervisor } from './simulated-hypervisor.js';
import { SimulatedMachine } from './simulated-machine.js';
import { SimulatedLinks, type SimulatedNetwork } from './simulated-network.js';
import { SimulatedSource } from './simulated-source.js';
import { SimulatedTarget } from './simulated-target.js';

export type { CopyChange, SimulatedNetwork } from './simulated-network.js';
export type { MemoryImage, SimulatedGuest } from './simulated-guest.js';

/** A network without hosts; `bytesPerSecond` is the speed of every link that has no limit of its own. */
export function createSimulatedNetwork({ bytesPerSecond = 1_250_000_000 } = {}): SimulatedNetwork {
  return new SimulatedLinks(bytesPerSecond);
}

export interface SimulatedHostOptions {
  clock: Clock;
  /** Its own, so that its draws never shift another host's. */
  random: Random;
  network: SimulatedNetwork;
  name: string;
  /** Drawn where it is not given. */
  hostUuid?: string;
  cpus?: number;
  memoryBytes?: bigint;
  /** Of one call, to the hypervisor and back. */
  latency?: CallLatency;
}

/**
 * A host that outlives its agents: guests, definitions, and the hypervisor's process. Each life of an agent opens a
 * hypervisor of its own; closing that is what the death of the agent does to libvirt.
 */
export interface SimulatedHost {
  readonly name: string;
  readonly info: HypervisorInfo;
  hypervisor(): Hypervisor;
  /** The copy that has a process here, running or not. */
  guest(uuid: string): SimulatedGuest | undefined;
  guests(): SimulatedGuest[];
  /** Its user pauses a running guest, behind the agent's back. */
  pauseGuest(uuid: string): void;
  /** ... and lets a guest that he paused go on. */
  resumeGuest(uuid: string): void;
  /** Its user has a defined guest start by itself when the host boots. */
  setAutostart(uuid: string): void;
  autostarts(uuid: string): boolean;
  /** A guest's process dies of itself. */
  crashGuest(uuid: string): void;
  /** The hypervisor's process is killed; guests go on. It comes back with `startDaemon`. */
  killDaemon(): void;
  startDaemon(): void;
  /** The hypervisor's process stands still (SIGSTOP) and goes on. */
  hangDaemon(): void;
  continueDaemon(): void;
  /** Its disk is full, or has room again: where it is full nothing can be defined. */
  setDiskFull(full: boolean): void;
  /** Everything here ends at once, and nobody else is told. Definitions stay. */
  losePower(): void;
  /** The host boots: the hypervisor runs, and no guest but those that start by themselves. */
  gainPower(): void;
}

const GIB = 2n ** 30n;

export function createSimulatedHost(options: SimulatedHostOptions): SimulatedHost {
  const { clock, random, network, name } = options;
  if (!(network instanceof SimulatedLinks)) throw new Error('the network must come from createSimulatedNetwork');
  const info: HypervisorInfo = {
    hostUuid: options.hostUuid ?? random.uuid(),
    hostname: name,
    version: 'simulated',
    cpus: options.cpus ?? 8,
    memoryBytes: options.memoryBytes ?? 32n * GIB,
  };
  const daemon = new SimulatedDaemon({ clock, random, latency: options.latency ?? { leastMs: 0.5, mostMs: 2 } });
  const machine = new SimulatedMachine(name, info, clock, random, network.images, (change) => {
    network.tell({ host: name, ...change });
  });
  const source = new SimulatedSource(machine, network);
  const target = new SimulatedTarget(machine);
  let powered = true;
  network.attach(name, (port) => (powered ? target.at(port) : undefined));

  return {
    name,
    info,
    hypervisor: () => new SimulatedHypervisor({ clock, info, daemon, machine, source, target }),
    guest: (uuid) => machine.guests.get(uuid),
    guests: () => [...machine.guests.values()],
    pauseGuest(uuid) {
      machine.guest(uuid).become({ state: 'paused', reason: 'user' }, 'suspended (paused)');
    },
    resumeGuest(uuid) {
      const guest = machine.guest(uuid);
      if (guest.state.state === 'paused' && guest.state.reason === 'user') guest.become({ state: 'running', reason: 'ordinary' }, 'resumed (unpaused)');
    },
    setAutostart(uuid) {
      machine.autostarting.add(uuid);
    },
    autostarts: (uuid) => machine.autostarting.has(uuid),
    crashGuest(uuid) {
      machine.guest(uuid).end('crashed');
    },
    killDaemon() {
      daemon.kill();
    },
    startDaemon() {
      if (!powered || daemon.up) return;
      target.recover();
      source.recover();
      daemon.start();
      machine.feed.emit({ kind: 'resync' });
    },
    hangDaemon() {
      daemon.hang();
    },
    continueDaemon() {
      daemon.goOn();
    },
    setDiskFull(full) {
      machine.diskFull = full;
    },
    losePower() {
      powered = false;
      daemon.kill();
      target.losePower();
      source.losePower();
      machine.losePower();
    },
    gainPower() {
      powered = true;
      daemon.start();
      machine.autostart();
      machine.feed.emit({ kind: 'resync' });
    },
  };
}
