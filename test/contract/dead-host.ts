// SPDX-License-Identifier: Apache-2.0
import { expect, vi } from 'vitest';
import type { Lockstep } from '@lockstep/sdk';
import { nodeCodec } from '../../services/core/records/codec.js';
import { keys } from '../../services/core/records/keys.js';
import type { DevCluster } from '../../services/dev/cluster.js';

/** Writes into a node's record what the Fencer writes there when it has proven the host off. */
export async function proveOff(cluster: DevCluster, node: string, fenceActionId: string): Promise<void> {
  for (;;) {
    const entry = await cluster.store.get(keys.node(node));
    if (entry === undefined) throw new Error(`${node} has no record`);
    const record = { ...nodeCodec.decode(entry.value, entry.index), fencedBy: fenceActionId };
    const result = await cluster.store.txn([
      { op: 'cas', key: keys.node(node), value: nodeCodec.encode(record), index: entry.index },
    ]);
    if (result.outcome === 'committed') return;
  }
}

export async function untilReady(lockstep: Lockstep, nodes: number): Promise<void> {
  await vi.waitFor(
    async () => {
      const { nodes: found } = await lockstep.scheduler.listNodes({});
      expect(found.filter(({ ready }) => ready)).toHaveLength(nodes);
    },
    { timeout: 60_000 },
  );
}

/** On which hosts vCPUs of it run. */
export function runsOn(cluster: DevCluster, vmId: string): string[] {
  return [...cluster.hosts.values()].flatMap((host) => (host.guest(vmId)?.state.state === 'running' ? [host.name] : []));
}

/** On which hosts that are on a definition or a process of it is left. */
export async function copies(cluster: DevCluster, vmId: string): Promise<string[]> {
  const found: string[] = [];
  for (const host of cluster.hosts.values()) {
    const hypervisor = host.hypervisor();
    const domain = await hypervisor.find(vmId, { deadlineMs: 5_000 }).catch(() => undefined);
    if (domain !== undefined) found.push(host.name);
    await hypervisor.close();
  }
  return found;
}

/** A domain of the simulated hypervisor. */
export function domainXml(name: string, { memoryMib = 64, behaviour = '' } = {}): string {
  const simulated = `<lockstep:simulated shutdown-ms="50" ${behaviour}/>`;
  const metadata = `<metadata><lockstep:vm xmlns:lockstep="https://lockstep.dev/xmlns/domain/1">${simulated}</lockstep:vm></metadata>`;
  return `<domain type='kvm'><name>${name}</name><memory unit='MiB'>${String(memoryMib)}</memory><vcpu>1</vcpu>${metadata}</domain>`;
}
