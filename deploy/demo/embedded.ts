// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { startDevCluster } from '@lockstep/services/dev/cluster.js';
import { createMemoryLogger } from '@lockstep/services/platform/log/memory.js';
import type { Stage } from './stage.js';

/** The same services on embedded parts: simulated hypervisors, a store in this process, real gRPC on loopback. */
export async function embeddedStage(report: (line: string) => void): Promise<Stage> {
  // Slow links, so that the transfer can be watched.
  const cluster = await startDevCluster({ nodes: 3, log: createMemoryLogger(), bytesPerSecond: 100_000_000 });
  report(`three simulated hosts in this process, Scheduler at ${cluster.scheduler}`);
  const hosts = [...cluster.hosts.values()];
  const [first, second, ...others] = cluster.hosts.keys();
  if (first === undefined || second === undefined) throw new Error('the cluster has fewer than two hosts');
  const uuids = new Map<string, string>();
  const copies = (name: string) =>
    hosts.map((host) => ({ host, guest: host.guest(uuids.get(name) ?? '') }));
  let highest = 0;
  return {
    servers: [cluster.scheduler],
    nodes: [first, second, ...others],
    guestXml(name) {
      const uuid = randomUUID();
      uuids.set(name, uuid);
      return Promise.resolve(
        `<domain type='kvm'><name>${name}</name><uuid>${uuid}</uuid>` +
          `<memory unit='MiB'>512</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>`,
      );
    },
    counter(name) {
      const all = copies(name).flatMap(({ host, guest }) =>
        guest === undefined ? [] : [{ host: host.name, count: guest.counter(), state: guest.state.state }],
      );
      const running = all.filter(({ state }) => state === 'running');
      const value = Math.max(0, ...running.map(({ count }) => count));
      const broken =
        running.length > 1
          ? `it runs on ${running.map(({ host }) => host).join(' and ')}`
          : value < highest
            ? `it went back from ${highest} to ${value}`
            : undefined;
      highest = Math.max(highest, value);
      return { value, perHost: all.map(({ host, count, state }) => `${host} ${count} (${state})`), broken };
    },
    domains: (name) =>
      Promise.resolve(
        copies(name).map(({ host, guest }) => ({
          node: host.name,
          state: guest?.state.state ?? 'no such domain',
          here: guest !== undefined,
        })),
      ),
    keepHint: 'npm run dev, for a cluster of embedded parts that stays',
    close: () => cluster.close(),
  };
}
