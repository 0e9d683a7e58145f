// SPDX-License-Identifier: Apache-2.0
import { MigrationRole, Network, NetworkKind, NodeConditionType, type Node } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { networkCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { call, domainXml, spec, TestBed, VM, type TestNode } from './test-bed.js';

const LAN = Network.create({ name: 'lan', kind: NetworkKind.VXLAN, bridge: 'br7', uplink: 'eth0', tag: 7 });
const TICK_MS = 11_000;

async function apply(bed: TestBed, node: TestNode, networks: Network[]): Promise<void> {
  await bed.run(node.service.applyNetworks({ header: await bed.header(node), networks }, call()));
}

async function shown(bed: TestBed, { service }: TestNode): Promise<Node> {
  const { node } = await bed.run(service.getNode({ header: undefined }, call()));
  if (node === undefined) throw new Error('no node');
  return node as Node;
}

const connected = (bridge: string): string =>
  domainXml().replace('</domain>', `<devices><interface type='bridge'><source bridge='${bridge}'/></interface></devices></domain>`);

describe('the networks of a node', () => {
  it('are made as ordered, without a moment with IPv6, and told', async () => {
    const bed = new TestBed();
    const node = await bed.node('h1');
    await apply(bed, node, [LAN]);
    const { networks, bridges } = await shown(bed, node);
    expect(networks).toEqual([{ name: 'lan', bridge: 'br7', ready: true, detail: '' }]);
    expect(bridges).toEqual(['br0', 'br7']);
    expect(node.links.story).toEqual(['vx7 made', 'br7 made', 'vx7 joins br7', 'vx7 up', 'br7 up']);
    expect(node.links.leaks).toEqual([]);
  });

  it('are read from the records at the start, before a guest of theirs is started', async () => {
    const bed = new TestBed();
    await bed.store.txn([{ op: 'set', key: keys.network('lan'), value: networkCodec.encode(LAN) }]);
    const node = await bed.node('h1');
    expect((await shown(bed, node)).networks).toMatchObject([{ name: 'lan', ready: true }]);
  });

  it('are repaired when somebody changes them, and the repair is told', async () => {
    const bed = new TestBed();
    const node = await bed.node('h1');
    await apply(bed, node, [LAN]);
    const bridge = node.links.links.get('br7');
    if (bridge === undefined) throw new Error('no bridge');
    node.links.links.set('br7', { ...bridge, up: false, ipv6Off: false });
    await bed.clock.advance(TICK_MS);
    expect(node.links.links.get('br7')).toMatchObject({ up: true, ipv6Off: true });
    expect((await shown(bed, node)).networks).toMatchObject([{ ready: true, detail: 'repaired: took IPv6 from br7, brought br7 up' }]);
    expect(node.log.lines.map(({ message }) => message)).toContain('repaired network lan');
    expect(node.links.leaks).toEqual([]);
  });

  it("take IPv6 from a guest's end that came with it, also where there are no networks", async () => {
    const bed = new TestBed();
    const node = await bed.node('h1');
    expect(node.links.newProtected).toBe(true);
    node.links.add({ name: 'vnet0', kind: 'tap', bridge: 'br0', up: true, ipv6Off: false });
    await bed.clock.advance(TICK_MS);
    expect(node.links.links.get('vnet0')?.ipv6Off).toBe(true);
  });

  it('that cannot be say why, as a condition of the node, and hinder no other', async () => {
    const bed = new TestBed();
    const node = await bed.node('h1');
    const broken = Network.create({ ...LAN, name: 'far', bridge: 'br9', uplink: 'eth9', tag: 9 });
    await apply(bed, node, [broken, LAN]);
    const { networks, conditions } = await shown(bed, node);
    expect(networks).toMatchObject([
      { name: 'far', ready: false, detail: 'there is no link eth9' },
      { name: 'lan', ready: true },
    ]);
    expect(conditions).toMatchObject([{ type: NodeConditionType.NETWORK_BROKEN, detail: 'far: there is no link eth9' }]);
  });

  it('go when they are taken away; a bridge that a guest uses stays until it is free', async () => {
    const bed = new TestBed();
    const node = await bed.node('h1');
    await apply(bed, node, [LAN]);
    node.links.add({ name: 'vnet0', kind: 'tap', bridge: 'br7', up: true });
    await apply(bed, node, []);
    expect(node.links.links.has('br7')).toBe(true);
    expect((await shown(bed, node)).conditions).toMatchObject([{ detail: 'br7 is still used by vnet0' }]);
    node.links.links.delete('vnet0');
    await bed.clock.advance(TICK_MS);
    expect([...node.links.links.keys()]).toEqual(['lo', 'eth0', 'eth1', 'br0']);
    expect((await shown(bed, node)).conditions).toEqual([]);
  });

  it('are left alone until the agent is told of any: a bridge made for one outlives its agent', async () => {
    const bed = new TestBed();
    const node = await bed.node('h1');
    await apply(bed, node, [LAN]);
    await bed.store.txn([{ op: 'set', key: keys.network('lan'), value: networkCodec.encode(LAN) }]);
    await node.kill();
    const before = node.links.story.length;
    await node.restart();
    await bed.clock.advance(TICK_MS);
    expect(node.links.story.slice(before)).toEqual([]);
  });

  it('that make no sense are refused, and nothing is changed', async () => {
    const bed = new TestBed();
    const node = await bed.node('h1');
    const wrong = Network.create({ ...LAN, bridge: '../../conf' });
    await expect(apply(bed, node, [wrong])).rejects.toThrow('network.bridge');
    expect(node.links.story).toEqual([]);
  });
});

describe('Prepare at the target', () => {
  async function vote(bed: TestBed, node: TestNode, bridge: string) {
    const xml = connected(bridge);
    return await bed.run(
      node.service.prepare(
        {
          header: await bed.header(node),
          order: { vmId: VM, placementEpoch: 9n, migrationId: 'm1' },
          role: MigrationRole.TARGET,
          limits: undefined,
          cookie: Buffer.from('{}'),
          domainXml: xml,
          persistentXml: xml,
          spec: { ...spec(), domainXml: xml },
          paused: false,
          measureDirtyRate: false,
        },
        call(),
      ),
    );
  }

  it('refuses a VM whose bridge is missing and cannot be made', async () => {
    const bed = new TestBed();
    const node = await bed.node('h1');
    expect(await vote(bed, node, 'br9')).toMatchObject({
      granted: false,
      refusals: [{ reason: 'BRIDGE_MISSING', detail: 'there is no bridge br9 here, and no network that has it' }],
    });
  });

  it('makes the bridge of a network that somebody took away', async () => {
    const bed = new TestBed();
    const node = await bed.node('h1');
    await apply(bed, node, [LAN]);
    node.links.links.delete('br7');
    await bed.clock.advance(TICK_MS);
    node.links.links.delete('br7');
    const { refusals } = await vote(bed, node, 'br7');
    expect(refusals?.map(({ reason }) => reason) ?? []).not.toContain('BRIDGE_MISSING');
  });
});
