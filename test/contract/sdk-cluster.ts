// SPDX-License-Identifier: Apache-2.0
import { connect, VmState } from '@lockstep/sdk';
import { expect, vi } from 'vitest';
import { startDevCluster } from '../../services/dev/cluster.js';
import { createMemoryLogger } from '../../services/platform/log/memory.js';

/** A cluster for tests of clients: nodes n1 and n2, and the VM `counter`, which runs on n1. */
export interface TestCluster {
  /** host:port of its Scheduler. */
  readonly server: string;
  close(): Promise<void>;
}

const COUNTER_XML = `
<domain type='kvm'>
  <name>counter</name>
  <uuid>3f0c9a52-6a4e-4d5c-9c57-0e7e2f0a7b11</uuid>
  <memory unit='MiB'>256</memory>
  <vcpu>1</vcpu>
  <os><type arch='x86_64'>hvm</type></os>
</domain>`;

/** Starts one with real gRPC on loopback ports and simulated hypervisors; the VM runs when it resolves. */
export async function startTestCluster(): Promise<TestCluster> {
  const cluster = await startDevCluster({ nodes: 2, log: createMemoryLogger() });
  const lockstep = connect({ servers: [cluster.scheduler] });
  const readyNodes = async (): Promise<string[]> => {
    const { nodes } = await lockstep.scheduler.listNodes({});
    return nodes.filter(({ ready }) => ready).map(({ name }) => name);
  };
  try {
    await vi.waitFor(async () => { expect(await readyNodes()).toEqual(['n1', 'n2']); }, { timeout: 30_000, interval: 200 });
    await lockstep.scheduler.defineVm({ spec: { domainXml: COUNTER_XML }, node: 'n1', start: true });
    await lockstep.waitForVm('counter', [VmState.RUNNING]);
  } catch (error) {
    await cluster.close();
    throw error;
  } finally {
    lockstep.close();
  }
  return { server: cluster.scheduler, close: () => cluster.close() };
}
