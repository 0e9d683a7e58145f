// SPDX-License-Identifier: Apache-2.0
import { Network, NetworkKind } from '@lockstep/sdk/v1';
import { describe, expect, it } from 'vitest';
import { checkBeside, checkNetwork } from './check.js';
import { deviceOf } from './devices.js';
import type { Link } from './link.js';
import { describeStep, planNetwork, planProtection, planRemovals } from './plan.js';

function link(name: string, more: Partial<Link> = {}): Link {
  const bare = { bridge: undefined, uplink: undefined, tag: undefined, network: undefined };
  return { name, kind: 'other', up: true, mtuBytes: 1_500, ipv6Off: true, addresses: [], ...bare, ...more };
}

const host = (...links: Link[]): ReadonlyMap<string, Link> => new Map(links.map((one) => [one.name, one]));
const network = (more: Partial<Network> = {}): Network =>
  Network.create({ name: 'lan', kind: NetworkKind.VLAN, bridge: 'br7', uplink: 'eth1', tag: 7, ...more });
const words = (wanted: Network, links: ReadonlyMap<string, Link>): string[] =>
  planNetwork(wanted, links).steps.map(describeStep);

describe('what is missing of a network', () => {
  it('is made before anything of it is up, and joined before that', () => {
    expect(words(network(), host(link('eth1')))).toEqual([
      'made eth1.7',
      'made br7',
      'made eth1.7 a port of br7',
      'brought eth1.7 up',
      'brought br7 up',
    ]);
  });

  it('ancestor 26: a link that has IPv6 loses it before it joins and before it is up', () => {
    const untagged = network({ kind: NetworkKind.UNTAGGED, tag: 0 });
    expect(words(untagged, host(link('eth1', { up: false, ipv6Off: false })))).toEqual([
      'made br7',
      'took IPv6 from eth1',
      'made eth1 a port of br7',
      'brought eth1 up',
      'brought br7 up',
    ]);
  });

  it('is nothing where all is as it should be', () => {
    const sub = link('eth1.7', { kind: 'vlan', uplink: 'eth1', tag: 7, bridge: 'br7', network: 'lan' });
    const links = host(link('eth1'), sub, link('br7', { kind: 'bridge', network: 'lan' }));
    expect(planNetwork(network(), links)).toEqual({ steps: [], obstacle: undefined });
  });

  it('is only what has drifted', () => {
    const sub = link('eth1.7', { kind: 'vlan', uplink: 'eth1', tag: 7, network: 'lan', mtuBytes: 1_400 });
    const links = host(link('eth1'), sub, link('br7', { kind: 'bridge', ipv6Off: false, mtuBytes: 1_450 }));
    expect(words(network({ mtu: 1_450 }), links)).toEqual([
      'set the MTU of eth1.7 to 1450',
      'took IPv6 from br7',
      'made eth1.7 a port of br7',
    ]);
  });

  it('brings a bare trunk up, without IPv6', () => {
    expect(words(network(), host(link('eth1', { up: false, ipv6Off: false }))).slice(0, 2)).toEqual([
      'took IPv6 from eth1',
      'brought eth1 up',
    ]);
  });

  it.each([
    ['no uplink', network(), host(), 'there is no link eth1'],
    ['a bridge that is none', network(), host(link('eth1'), link('br7')), 'br7 is there and is no bridge'],
    ['another tag', network(), host(link('eth1'), link('eth1.7', { kind: 'vlan', tag: 8 })), 'eth1.7 is there and is not VLAN 7'],
    ['a port elsewhere', network(), host(link('eth1'), link('eth1.7', { kind: 'vlan', tag: 7, uplink: 'eth1', bridge: 'br9' })), 'a port of br9'],
    ['packets too large', network({ mtu: 9_000 }), host(link('eth1')), 'eth1 carries at most 1500'],
    ['packets too large for VXLAN', network({ kind: NetworkKind.VXLAN, mtu: 1_500 }), host(link('eth1')), 'at most 1450'],
    [
      "the host's own address on the uplink",
      network({ kind: NetworkKind.UNTAGGED, tag: 0 }),
      host(link('eth1', { addresses: ['192.0.2.1'] })),
      'which it would lose as a port',
    ],
  ])('is left to a person: %s', (_what, wanted, links, words) => {
    const { steps, obstacle } = planNetwork(wanted, links);
    expect(steps).toEqual([]);
    expect(obstacle).toContain(words);
  });
});

describe('what is left of a network that is no more', () => {
  const sub = link('eth1.7', { kind: 'vlan', bridge: 'br7', network: 'lan' });
  const bridge = link('br7', { kind: 'bridge', network: 'lan' });

  it('goes, and nothing else does', () => {
    const links = host(link('eth1'), link('br0', { kind: 'bridge' }), sub, bridge);
    expect(planRemovals([], links).steps.map(describeStep)).toEqual(['removed eth1.7', 'removed br7']);
    expect(planRemovals([network()], links).steps).toEqual([]);
  });

  it('stays while a guest uses it, and says so', () => {
    const links = host(sub, bridge, link('vnet3', { kind: 'tap', bridge: 'br7' }));
    expect(planRemovals([], links)).toEqual({ steps: [], kept: ['br7 is still used by vnet3'] });
  });
});

it("guests' ends lose IPv6 on any bridge, other ports on a network's bridge alone", () => {
  const open = { ipv6Off: false };
  const links = host(
    link('vnet0', { kind: 'tap', bridge: 'br0', ...open }),
    link('vnet1', { kind: 'tap', bridge: 'br7' }),
    link('veth0', { bridge: 'br0', ...open }),
    link('veth7', { bridge: 'br7', ...open }),
    link('eth0', open),
  );
  expect(planProtection([network()], links).map(describeStep)).toEqual(['took IPv6 from vnet0', 'took IPv6 from veth7']);
});

describe('a network that no host could offer is refused, by its field', () => {
  it.each([
    ['name', { name: 'a b' }],
    ['bridge', { bridge: 'a-name-that-is-too-long' }],
    ['bridge', { bridge: '../conf' }],
    ['bridge', { bridge: 'default' }],
    ['uplink', { uplink: '' }],
    ['kind', { kind: NetworkKind.UNSPECIFIED }],
    ['tag', { tag: 0 }],
    ['tag', { tag: 4_095 }],
    ['tag', { kind: NetworkKind.VXLAN, tag: 2 ** 24 }],
    ['tag', { kind: NetworkKind.UNTAGGED }],
    ['mtu', { mtu: 100 }],
    ['bridge', { bridge: 'eth1' }],
  ])('%s', (field, wrong) => {
    expect(() => { checkNetwork(network(wrong)); }).toThrow(`network.${field}`);
  });

  it('and one that stands in the way of another', () => {
    checkBeside(network({ name: 'b', bridge: 'br8', tag: 8 }), [network()]);
    expect(() => { checkBeside(network({ name: 'b' }), [network()]); }).toThrow('network.bridge');
    expect(() => { checkBeside(network({ name: 'b', bridge: 'br8' }), [network()]); }).toThrow('network.tag');
    const below = network({ name: 'b', bridge: 'br8', uplink: 'br7', kind: NetworkKind.UNTAGGED, tag: 0 });
    expect(() => { checkBeside(below, [network()]); }).toThrow('network.bridge');
  });
});

it('names of links fit the kernel, and differ where uplinks differ', () => {
  expect(deviceOf(network())).toBe('eth1.7');
  const long = deviceOf(network({ uplink: 'enp65s0f1np1', tag: 4_000 }));
  expect(long.length).toBeLessThanOrEqual(15);
  expect(deviceOf(network({ uplink: 'enp65s0f1np2', tag: 4_000 }))).not.toBe(long);
  expect(deviceOf(network({ kind: NetworkKind.VXLAN, tag: 2 ** 24 - 1 }))).toBe('vx16777215');
});
