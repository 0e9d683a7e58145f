// SPDX-License-Identifier: Apache-2.0
import { NetworkKind, type Network } from '@lockstep/sdk/v1';
import { deviceOf, VXLAN_OVERHEAD_BYTES } from './devices.js';
import type { Link, LinkSpec } from './link.js';

/** One change of a host's links. */
export type Step =
  | { do: 'make'; spec: LinkSpec }
  | { do: 'ipv6-off'; link: string }
  | { do: 'mtu'; link: string; bytes: number }
  | { do: 'join'; link: string; bridge: string }
  | { do: 'up'; link: string }
  | { do: 'remove'; link: string };

/** What brings a network about; with an obstacle, nothing does before a person acted. */
export interface NetworkPlan {
  steps: Step[];
  obstacle: string | undefined;
}

type Links = ReadonlyMap<string, Link>;

/**
 * What is missing of a network on a host, in the order in which it may be done: a link has lost IPv6 before it joins a
 * bridge, and before it is up. Pure.
 */
export function planNetwork(network: Network, links: Links): NetworkPlan {
  const obstacle = obstacleOf(network, links);
  if (obstacle !== undefined) return { steps: [], obstacle };
  const { name, bridge, uplink, tag, mtu, kind } = network;
  const device = deviceOf(network);
  const steps: Step[] = [];
  const sub = kind === NetworkKind.VLAN ? 'vlan' : 'vxlan';
  if (kind !== NetworkKind.UNTAGGED) {
    steps.push(...planParent(links.get(uplink)));
    if (!links.has(device)) steps.push({ do: 'make', spec: { name: device, network: name, kind: sub, uplink, tag } });
  }
  if (!links.has(bridge)) steps.push({ do: 'make', spec: { name: bridge, network: name, kind: 'bridge' } });
  for (const link of [device, bridge]) {
    // What is made here is made without IPv6.
    if (links.get(link)?.ipv6Off === false) steps.push({ do: 'ipv6-off', link });
    if (mtu !== 0 && links.get(link)?.mtuBytes !== mtu) steps.push({ do: 'mtu', link, bytes: mtu });
  }
  if (links.get(device)?.bridge !== bridge) steps.push({ do: 'join', link: device, bridge });
  for (const link of [device, bridge]) if (links.get(link)?.up !== true) steps.push({ do: 'up', link });
  return { steps, obstacle: undefined };
}

/** A trunk that nobody brought up is there for its tags alone. */
function planParent(parent: Link | undefined): Step[] {
  if (parent === undefined || parent.up) return [];
  const bare = parent.ipv6Off || parent.addresses.length > 0 ? [] : [{ do: 'ipv6-off', link: parent.name } as const];
  return [...bare, { do: 'up', link: parent.name }];
}

function obstacleOf(network: Network, links: Links): string | undefined {
  const { bridge, uplink, kind } = network;
  const parent = links.get(uplink);
  if (parent === undefined) return `there is no link ${uplink}`;
  const present = links.get(bridge);
  if (present !== undefined && present.kind !== 'bridge') return `${bridge} is there and is no bridge`;
  const obstacle = kind === NetworkKind.UNTAGGED ? untaggedObstacle(network, parent) : subObstacle(network, parent, links);
  return obstacle ?? portObstacle(network, links.get(deviceOf(network)));
}

/** A host that reaches the cluster by this link would be cut off by its joining a bridge. */
function untaggedObstacle({ bridge }: Network, parent: Link): string | undefined {
  if (parent.bridge === bridge || parent.addresses.length === 0) return undefined;
  return `${parent.name} has addresses of the host's own (${parent.addresses.join(', ')}), which it would lose as a port`;
}

function subObstacle(network: Network, parent: Link, links: Links): string | undefined {
  const { kind, uplink, tag, mtu } = network;
  const most = parent.mtuBytes - (kind === NetworkKind.VXLAN ? VXLAN_OVERHEAD_BYTES : 0);
  if (mtu > most) return `its MTU is ${String(mtu)}, and ${uplink} carries at most ${String(most)}`;
  const device = deviceOf(network);
  const present = links.get(device);
  const wanted = kind === NetworkKind.VLAN ? 'vlan' : 'vxlan';
  if (present === undefined) return undefined;
  if (present.kind === wanted && present.tag === tag && (present.uplink ?? uplink) === uplink) return undefined;
  return `${device} is there and is not ${wanted.toUpperCase()} ${String(tag)} of ${uplink}`;
}

function portObstacle({ bridge }: Network, device: Link | undefined): string | undefined {
  if (device?.bridge === undefined || device.bridge === bridge) return undefined;
  return `${device.name} is a port of ${device.bridge}`;
}

/** What agents made for networks that are no more. A bridge that somebody uses stays, and `kept` says by whom. */
export function planRemovals(networks: readonly Network[], links: Links): { steps: Step[]; kept: string[] } {
  const wanted = new Set(networks.flatMap((network) => [network.bridge, deviceOf(network)]));
  const orphans = [...links.values()].filter(({ name, network }) => network !== undefined && !wanted.has(name));
  const steps: Step[] = [];
  const kept: string[] = [];
  const keptBridges = new Set<string>();
  for (const { name, kind } of orphans) {
    const guests = [...links.values()].filter((port) => port.bridge === name && port.kind === 'tap').map((port) => port.name);
    if (kind !== 'bridge' || guests.length === 0) continue;
    keptBridges.add(name);
    kept.push(`${name} is still used by ${guests.join(', ')}`);
  }
  for (const { name, bridge } of orphans) {
    if (!keptBridges.has(name) && !keptBridges.has(bridge ?? '')) steps.push({ do: 'remove', link: name });
  }
  return { steps, kept };
}

/** Guests' ends, and whatever else is a port of a network's bridge, lose IPv6 wherever they have it. */
export function planProtection(networks: readonly Network[], links: Links): Step[] {
  const bridges = new Set(networks.map(({ bridge }) => bridge));
  return [...links.values()]
    .filter(({ kind, bridge, ipv6Off }) => !ipv6Off && bridge !== undefined && (kind === 'tap' || bridges.has(bridge)))
    .map(({ name }) => ({ do: 'ipv6-off', link: name }));
}

/** A step in words. */
export function describeStep(step: Step): string {
  switch (step.do) {
    case 'make':
      return `made ${step.spec.name}`;
    case 'ipv6-off':
      return `took IPv6 from ${step.link}`;
    case 'mtu':
      return `set the MTU of ${step.link} to ${String(step.bytes)}`;
    case 'join':
      return `made ${step.link} a port of ${step.bridge}`;
    case 'up':
      return `brought ${step.link} up`;
    case 'remove':
      return `removed ${step.link}`;
  }
}
