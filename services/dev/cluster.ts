// SPDX-License-Identifier: Apache-2.0
import { createServer } from 'node:net';
import { FencerServiceDefinition, NodeAgentServiceDefinition, SchedulerServiceDefinition } from '@lockstep/sdk/v1';
import { createFencer, type FencerConfig } from '../fencer/fencer.js';
import { createNodeAgent } from '../node-agent/agent.js';
import { systemClock } from '../platform/clock/system.js';
import type { Host } from '../platform/host/host.js';
import { createSimulatedHost as createHostFigures } from '../platform/host/simulated.js';
import type { GoingDown } from '../platform/host/shutdown.js';
import type { StorageLocks } from '../platform/host/storage-locks.js';
import type { Hypervisor } from '../platform/hypervisor/hypervisor.js';
import { createSimulatedHost, createSimulatedNetwork, type SimulatedHost } from '../platform/hypervisor/simulated.js';
import type { Env } from '../platform/env.js';
import type { Logger } from '../platform/log/log.js';
import type { Metrics } from '../platform/metrics/metrics.js';
import { systemRandom } from '../platform/random/system.js';
import type { PowerState } from '../platform/power/power.js';
import { bmcsOf, createSimulatedBmc, type SimulatedBmc } from '../platform/power/simulated.js';
import { createPeers } from '../platform/rpc/peers-grpc.js';
import { serve, service, type ServedService } from '../platform/rpc/server.js';
import { createMemoryState, type MemoryState } from '../platform/state/memory.js';
import { createEmbeddedStore } from '../platform/store/embedded.js';
import type { Store } from '../platform/store/store.js';
import { createScheduler } from '../scheduler/scheduler.js';
import { VERSION } from '../core/version.js';

const CLOSE_GRACE_MS = 1_000;

export interface DevOptions {
  /** How many simulated hypervisors. */
  nodes: number;
  /** Memory of each of them in bytes; 32 GiB unless told. */
  memoryBytes?: bigint;
  log: Logger;
  /** Speed of the links between them, in bytes per second. */
  bytesPerSecond?: number;
  /** Where the Scheduler counts; nowhere unless told. */
  metrics?: Metrics;
  /** The hypervisor of a node as its agent shall see it; as it is unless given. */
  hypervisorOf?: (node: string, hypervisor: Hypervisor) => Hypervisor;
  /** The locks of the storage cluster that all hosts reach; there is none unless told. Node n1's clients come from 10.0.0.1, and so on. */
  storageLocks?: StorageLocks;
  /** How the Fencer is set; as it is in production unless told. */
  fencing?: Omit<FencerConfig, 'name'>;
}

/** One life of an agent. */
interface Life {
  leave: () => Promise<void>;
  end: () => Promise<void>;
}

/** A host and the agent's life on it. */
interface Machine {
  host: SimulatedHost;
  state: MemoryState;
  boot: () => Promise<Life>;
  goingDown: GoingDown;
  leave: (() => Promise<void>) | undefined;
  /** Ends the agent's life; undefined: the host is off. */
  end: (() => Promise<void>) | undefined;
}

/** A whole cluster in this process, with real gRPC on loopback ports. */
export interface DevCluster {
  /** host:port of the Scheduler, the Fencer and the agents by node name. */
  scheduler: string;
  fencer: string;
  agents: ReadonlyMap<string, string>;
  /** The simulated hosts by name: what runs on each can be looked at from outside. */
  hosts: ReadonlyMap<string, SimulatedHost>;
  /** The hosts' BMCs: their power stays on where a host only crashes. */
  bmcs: ReadonlyMap<string, SimulatedBmc>;
  /** The cluster's store, to be looked at from outside. */
  store: Store;
  /** A host loses its power with all that runs there, or gets it back: then its agent starts from what it kept on disk. */
  power(node: string, state: PowerState): Promise<void>;
  /** An agent's process ends, and is not started again; its host and its guests run on. */
  endAgent(node: string): Promise<void>;
  /** A host goes down in order and is off then; `power` brings it back. */
  goDown(node: string, kind: 'reboot' | 'shutdown'): Promise<void>;
  close(): Promise<void>;
}

/**
 * The services as they run in production, composed with the embedded parts: one store, simulated hypervisors. Only
 * platform's parts differ from what each `main.ts` composes.
 */
export async function startDevCluster(options: DevOptions): Promise<DevCluster> {
  const { nodes, log, bytesPerSecond, hypervisorOf, metrics, memoryBytes } = options;
  const clock = systemClock;
  const random = systemRandom;
  const storeServer = createEmbeddedStore({ clock, random });
  const peers = createPeers({ clock });
  const network = createSimulatedNetwork(bytesPerSecond === undefined ? {} : { bytesPerSecond });
  const closing: (() => Promise<void>)[] = [];
  const envOf = (name: string): Env => ({
    clock,
    random,
    store: storeServer.store(name),
    log: log.child(name),
    peers,
    points: () => Promise.resolve(),
  });
  const serveOn = async (served: ServedService, listen = '127.0.0.1:0'): Promise<string> => {
    const server = await serve({ listen, services: [served], log });
    closing.push(() => server.close(CLOSE_GRACE_MS));
    return server.address;
  };

  const agents = new Map<string, string>();
  const hosts = new Map<string, SimulatedHost>();
  const bmcs = new Map<string, SimulatedBmc>();
  const machines = new Map<string, Machine>();
  for (let number = 1; number <= nodes; number += 1) {
    const name = `n${String(number)}`;
    const address = await freeAddress();
    const host = createSimulatedHost({ clock, random, network, name, ...(memoryBytes === undefined ? {} : { memoryBytes }) });
    bmcs.set(name, bmcOf(host, name));
    const state = createMemoryState();
    const shutdown = { goingDown: () => Promise.resolve(machines.get(name)?.goingDown ?? 'no') };
    const boot = async (): Promise<Life> => {
      const hypervisor = hypervisorOf?.(name, host.hypervisor()) ?? host.hypervisor();
      const parts = { hypervisor, host: figuresOf(host, [`10.0.0.${String(number)}`], options.storageLocks), state, shutdown, bmcs: bmcsOf(bmcs) };
      const agent = await createNodeAgent({ ...envOf(name), ...parts }, { node: name, address, version: VERSION });
      const server = await serve({ listen: address, services: [service(NodeAgentServiceDefinition, agent.service)], log });
      agent.start();
      return {
        leave: () => agent.leave(),
        end: async () => {
          await server.close(0);
          await agent.stop();
        },
      };
    };
    machines.set(name, { host, state, boot, goingDown: 'no', ...(await boot()) });
    agents.set(name, address);
    hosts.set(name, host);
  }
  closing.push(async () => {
    for (const { end } of machines.values()) await end?.();
  });

  const scheduler = createScheduler({ ...envOf('scheduler'), metrics }, { name: 'dev' });
  closing.push(() => scheduler.close());
  const schedulerAddress = await serveOn(service(SchedulerServiceDefinition, scheduler.implementation));
  scheduler.start(schedulerAddress);

  const fencer = createFencer({ ...envOf('fencer'), bmcs: bmcsOf(bmcs) }, { name: 'dev', ...options.fencing });
  closing.push(() => fencer.close());
  const fencerAddress = await serveOn(service(FencerServiceDefinition, fencer.implementation));
  fencer.start(fencerAddress);

  const power: DevCluster['power'] = async (node, state) => {
    const machine = machines.get(node);
    if (machine === undefined) throw new Error(`there is no host ${node}`);
    if (state === 'off') {
      machine.host.losePower();
      storeServer.failNode(node);
      const end = machine.end;
      machine.end = undefined;
      await end?.();
    } else if (machine.end === undefined) {
      machine.host.gainPower();
      storeServer.healNode(node);
      await bmcs.get(node)?.powerOn({ deadlineMs: CLOSE_GRACE_MS });
      machine.state.reboot();
      Object.assign(machine, await machine.boot());
    }
  };

  return {
    scheduler: schedulerAddress,
    fencer: fencerAddress,
    agents,
    hosts,
    bmcs,
    store: storeServer.store('outside'),
    power,
    async endAgent(node) {
      const machine = machines.get(node);
      const end = machine?.end;
      if (machine === undefined || end === undefined) throw new Error(`no agent runs on ${node}`);
      machine.end = undefined;
      await end();
    },
    async goDown(node, kind) {
      const machine = machines.get(node);
      if (machine?.end === undefined) throw new Error(`${node} is not up`);
      machine.goingDown = kind;
      try {
        await machine.leave?.();
      } finally {
        machine.goingDown = 'no';
      }
      await power(node, 'off');
    },
    async close() {
      for (const close of closing.reverse()) await close();
      peers.close();
    },
  };
}

/** A BMC that takes the host's power away and gives it back; its agent's process stays, as it is this one. */
function bmcOf(host: SimulatedHost, name: string): SimulatedBmc {
  const onPower = (state: PowerState): void => {
    if (state === 'off') host.losePower();
    else host.gainPower();
  };
  return createSimulatedBmc({ clock: systemClock, name, guid: host.info.hostUuid, onPower });
}

/** The host as /proc would tell it: what its guests hold is in use. */
function figuresOf(host: SimulatedHost, addresses: readonly string[], storageLocks?: StorageLocks): Host {
  const usedByGuestsBytes = (): bigint => host.guests().reduce((sum, { memoryBytes }) => sum + BigInt(memoryBytes), 0n);
  return createHostFigures({ totalBytes: host.info.memoryBytes, usedByGuestsBytes, addresses, storageLocks });
}

/** A loopback address that nobody listens on. It is taken a moment later: whoever is quicker is told at listening. */
async function freeAddress(): Promise<string> {
  return await new Promise((resolve, reject) => {
    const probe = createServer();
    probe.once('error', reject);
    probe.listen(0, '127.0.0.1', () => {
      const address = probe.address();
      probe.close(() => {
        if (address === null || typeof address === 'string') reject(new Error('loopback has no free port'));
        else resolve(`127.0.0.1:${String(address.port)}`);
      });
    });
  });
}
