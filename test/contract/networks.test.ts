// SPDX-License-Identifier: Apache-2.0
import { randomUUID } from 'node:crypto';
import { NetworkKind, NodeConditionType } from '@lockstep/sdk/v1';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { startProgram } from './cli-process.js';
import { startEmbeddedMesh, type EmbeddedMesh } from './embedded-mesh.js';

const GIB = 2n ** 30n;
const LIMIT = { timeout: 50_000, interval: 200 };

let mesh: EmbeddedMesh;
beforeAll(async () => {
  mesh = await startEmbeddedMesh({ nodes: 2 });
});
afterAll(async () => {
  await mesh.close();
});

let count = 0;
async function define(memoryGib: number, node = '', bridge?: string): Promise<{ id: string; name: string; homeNode: string }> {
  const name = `vm-${(count += 1)}`;
  const devices = bridge === undefined ? '' : `<devices><interface type='bridge'><source bridge='${bridge}'/></interface></devices>`;
  const domainXml = `<domain type='kvm'><name>${name}</name><memory unit='GiB'>${memoryGib}</memory><os><type>hvm</type></os>${devices}</domain>`;
  const { vm } = await mesh.lockstep.scheduler.defineVm({ spec: { domainXml }, node });
  if (vm === undefined) throw new Error('no VM in the answer');
  return vm;
}

async function cli(...args: string[]): Promise<{ code: number | null; stdout: string; stderr: string }> {
  return await startProgram(args, { LOCKSTEP_SERVER: mesh.cluster.scheduler, NO_COLOR: '1' }).ended;
}

async function nodeNow(name: string) {
  const { node } = await mesh.lockstep.scheduler.getNode({ name });
  if (node?.figures?.memory === undefined) throw new Error('no figures');
  return { node, memory: node.figures.memory };
}

describe('a network', () => {
  const lan = { name: 'lan', kind: NetworkKind.VXLAN, bridge: 'br7', uplink: 'eth0', tag: 7 };

  it('is made on every node, found by its name, and the same request makes it once', async () => {
    const { scheduler } = mesh.lockstep;
    const requestId = randomUUID();
    const { network } = await scheduler.createNetwork({ requestId, network: lan });
    expect(network).toMatchObject(lan);
    expect((await scheduler.createNetwork({ requestId, network: lan })).network).toEqual(network);
    expect((await scheduler.listNetworks({})).networks).toEqual([network]);
    expect((await scheduler.getNetwork({ name: 'lan' })).network).toEqual(network);
    await vi.waitFor(async () => {
      for (const name of ['n1', 'n2']) expect((await nodeNow(name)).node.networks).toMatchObject([{ name: 'lan', ready: true }]);
    }, LIMIT);
    const shown = await cli('network', 'show', 'lan');
    expect(shown.stdout).toMatch(/^n1 +yes/m);
    expect((await cli('network', 'list')).stdout).toMatch(/^lan +VXLAN +7 +br7 +eth0/m);
  });

  it('is refused where it makes no sense or is there already', async () => {
    const { scheduler } = mesh.lockstep;
    const create = (more: object) => scheduler.createNetwork({ network: { ...lan, ...more } });
    await expect(create({})).rejects.toMatchObject({ reason: 'NETWORK_NAME_TAKEN' });
    await expect(create({ name: 'other', tag: 8 })).rejects.toMatchObject({ reason: 'INVALID_FIELD' });
    await expect(create({ name: 'other', bridge: 'br8', tag: 0 })).rejects.toMatchObject({ reason: 'INVALID_FIELD' });
    await expect(scheduler.getNetwork({ name: 'nothing' })).rejects.toMatchObject({ reason: 'NETWORK_NOT_FOUND' });
    expect((await scheduler.listNetworks({})).networks).toHaveLength(1);
  });

  it('that a VM uses is not taken away, and the refusal names the VM', async () => {
    const { scheduler } = mesh.lockstep;
    const vm = await define(1, '', 'br7');
    await expect(scheduler.deleteNetwork({ name: 'lan' })).rejects.toMatchObject({
      reason: 'NETWORK_IN_USE',
      message: expect.stringContaining(vm.name) as string,
    });
    await scheduler.undefineVm({ vm: vm.id });
    await scheduler.deleteNetwork({ name: 'lan' });
    expect((await scheduler.listNetworks({})).networks).toEqual([]);
    await expect(define(1, '', 'br7')).rejects.toMatchObject({ reason: 'NO_TARGET', message: expect.stringContaining('has no br7') as string });
  });
});

describe('memory that is provisioned', () => {
  it('two stopped VMs of 1 GiB count as provisioned, not as allocated, and the mem selector looks elsewhere', async () => {
    const before = (await nodeNow('n1')).memory;
    const stopped = [await define(1, 'n1'), await define(1, 'n1')];
    const after = (await nodeNow('n1')).memory;
    expect(after.provisionedBytes - before.provisionedBytes).toBe(2n * GIB);
    expect(after.allocatedBytes).toBe(before.allocatedBytes);
    const chosen = await define(1);
    expect(chosen.homeNode).toBe('n2');
    for (const vm of [...stopped, chosen]) await mesh.lockstep.scheduler.undefineVm({ vm: vm.id });
  });

  it('and is more than there is, shows as a condition, of the cluster and in the CLI', async () => {
    const total = Number((await nodeNow('n1')).memory.totalBytes / GIB);
    await define(total + 1, 'n1');
    expect((await nodeNow('n1')).node.conditions.map(({ type }) => type)).toContain(NodeConditionType.OVERPROVISIONED);
    expect((await nodeNow('n2')).node.conditions).toEqual([]);
    expect((await cli('node', 'list', '-o', 'wide')).stdout).toMatch(/^n1 .*OVERPROVISIONED/m);
    expect((await cli('node', 'show', 'n1')).stdout).toContain('OVERPROVISIONED');
    expect((await mesh.lockstep.scheduler.getCluster({})).cluster?.overprovisioned).toBe(false);
    await define(total, 'n2');
    expect((await mesh.lockstep.scheduler.getCluster({})).cluster?.overprovisioned).toBe(true);
    expect((await cli('cluster', 'status')).stdout).toContain('more provisioned than there is');
  });
});
