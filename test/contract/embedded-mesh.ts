// SPDX-License-Identifier: Apache-2.0
import { connect, type Lockstep } from '@lockstep/sdk';
import { expect, vi } from 'vitest';
import { startDevCluster, type DevCluster, type DevOptions } from '../../services/dev/cluster.js';
import { createMemoryLogger } from '../../services/platform/log/memory.js';

/** The whole mesh on the embedded parts, over real gRPC, and a client of it. */
export interface EmbeddedMesh {
  readonly cluster: DevCluster;
  readonly lockstep: Lockstep;
  /** On which hosts the guest's vCPUs run, by the simulated hypervisors themselves. */
  runsOn(uuid: string): string[];
  close(): Promise<void>;
}

/** Starts one with the nodes n1, n2, … and resolves when all of them are ready. */
export async function startEmbeddedMesh(options: Omit<DevOptions, 'log'>): Promise<EmbeddedMesh> {
  const cluster = await startDevCluster({ ...options, log: createMemoryLogger() });
  const lockstep = connect({ servers: [cluster.scheduler] });
  const close = async (): Promise<void> => {
    lockstep.close();
    await cluster.close();
  };
  const allReady = async (): Promise<void> => {
    const { nodes } = await lockstep.scheduler.listNodes({});
    expect(nodes.filter(({ ready }) => ready)).toHaveLength(options.nodes);
  };
  try {
    await vi.waitFor(allReady, { timeout: 30_000, interval: 200 });
  } catch (error) {
    await close();
    throw error;
  }
  return {
    cluster,
    lockstep,
    runsOn: (uuid) =>
      [...cluster.hosts.values()].flatMap((host) => (host.guest(uuid)?.state.state === 'running' ? [host.name] : [])),
    close,
  };
}
