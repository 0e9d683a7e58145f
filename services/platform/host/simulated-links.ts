// SPDX-License-Identifier: Apache-2.0
import type { CallLimit } from '../hypervisor/hypervisor.js';
import { LinkError, type Link, type Links } from './links.js';

/** Links that a test can look into and change behind the agent's back. */
export interface SimulatedLinks extends Links {
  readonly links: Map<string, Link>;
  /** What happened to links since the beginning, one line each, e.g. `br7 up`. */
  readonly story: string[];
  /** Names of links that came up, or joined a bridge, while they could have IPv6 addresses. */
  readonly leaks: string[];
  /** Whether links come to be without IPv6. */
  newProtected: boolean;
  /** Somebody else makes a link, for example a hypervisor for its guest. */
  add(link: Partial<Link> & Pick<Link, 'name'>): void;
  /** While set, every call fails with this. */
  broken: string | undefined;
}

const ETHERNET_MTU_BYTES = 1_500;

/** A host with a loopback, a cable, and one bridge that its operator made. */
export function createSimulatedLinks(): SimulatedLinks {
  const links = new Map<string, Link>();
  const story: string[] = [];
  const leaks: string[] = [];

  const known = (name: string): Link => {
    const link = links.get(name);
    if (link === undefined) throw new LinkError(`Cannot find device "${name}"`);
    return link;
  };
  const change = (name: string, changes: Partial<Link>, what: string): void => {
    const link = { ...known(name), ...changes };
    links.set(name, link);
    story.push(`${name} ${what}`);
    if (!link.ipv6Off && (link.up || link.bridge !== undefined)) leaks.push(name);
  };
  const answered = async <T>({ signal }: CallLimit, work: () => T): Promise<T> => {
    await Promise.resolve();
    if (signal?.aborted === true) throw new LinkError('called off');
    if (simulated.broken !== undefined) throw new LinkError(simulated.broken);
    return work();
  };

  const simulated: SimulatedLinks = {
    links,
    story,
    leaks,
    newProtected: false,
    broken: undefined,
    add: (link) => {
      links.set(link.name, { ...BARE, ipv6Off: simulated.newProtected, ...link });
      change(link.name, {}, 'added');
    },
    list: (call) => answered(call, () => [...links.values()]),
    protectNew: (call) =>
      answered(call, () => {
        const changed = !simulated.newProtected;
        simulated.newProtected = true;
        return changed;
      }),
    make: (spec, call) =>
      answered(call, () => {
        if (links.has(spec.name)) throw new LinkError('RTNETLINK answers: File exists');
        const sub = spec.kind === 'bridge' ? {} : { uplink: spec.uplink, tag: spec.tag };
        if (spec.kind !== 'bridge') known(spec.uplink);
        links.set(spec.name, { ...BARE, name: spec.name, kind: spec.kind, network: spec.network, ...sub });
        story.push(`${spec.name} made`);
      }),
    disableIpv6: (name, call) => answered(call, () => { change(name, { ipv6Off: true }, 'ipv6-off'); }),
    setMtu: (name, bytes, call) => answered(call, () => { change(name, { mtuBytes: bytes }, `mtu ${String(bytes)}`); }),
    join: (name, bridge, call) =>
      answered(call, () => {
        if (known(bridge).kind !== 'bridge') throw new LinkError('RTNETLINK answers: Operation not supported');
        change(name, { bridge }, `joins ${bridge}`);
      }),
    setUp: (name, call) => answered(call, () => { change(name, { up: true }, 'up'); }),
    remove: (name, call) =>
      answered(call, () => {
        if (!links.delete(name)) return;
        story.push(`${name} removed`);
        for (const port of links.values()) if (port.bridge === name) links.set(port.name, { ...port, bridge: undefined });
      }),
  };
  simulated.add({ name: 'lo', up: true, ipv6Off: true });
  simulated.add({ name: 'eth0', up: true, ipv6Off: true, addresses: ['192.0.2.1'] });
  simulated.add({ name: 'eth1', ipv6Off: false });
  simulated.add({ name: 'br0', kind: 'bridge', up: true, ipv6Off: true });
  story.length = 0;
  return simulated;
}

const BARE: Omit<Link, 'name'> = {
  kind: 'other',
  up: false,
  mtuBytes: ETHERNET_MTU_BYTES,
  bridge: undefined,
  uplink: undefined,
  tag: undefined,
  network: undefined,
  ipv6Off: true,
  addresses: [],
};
