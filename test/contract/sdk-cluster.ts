// SPDX-License-Identifier: Apache-2.0
import { VmState } from '@lockstep/sdk';
import { startEmbeddedMesh } from './embedded-mesh.js';

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
  const mesh = await startEmbeddedMesh({ nodes: 2 });
  try {
    await mesh.lockstep.scheduler.defineVm({ spec: { domainXml: COUNTER_XML }, node: 'n1', start: true });
    await mesh.lockstep.waitForVm('counter', [VmState.RUNNING]);
  } catch (error) {
    await mesh.close();
    throw error;
  }
  return { server: mesh.cluster.scheduler, close: () => mesh.close() };
}
