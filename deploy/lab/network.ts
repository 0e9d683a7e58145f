// SPDX-License-Identifier: Apache-2.0
import { writeFileSync } from 'node:fs';
import { LabError } from './errors.js';
import { networkNames, type HostLayout, type Lab, type NetworkName } from './layout.js';
import { attempt, run } from './shell.js';

/** The cable's end inside the host. */
export const deviceIn: Record<NetworkName, string> = { a: 'eth0', b: 'eth1' };

interface Link {
  ifname: string;
  flags: string[];
  addr_info?: { local: string }[];
}

async function ip(...args: string[]): Promise<void> {
  await run('ip', args);
}

async function links(...scope: string[]): Promise<Map<string, Link>> {
  const listed = JSON.parse(await run('ip', [...scope, '-j', 'address', 'show'])) as Link[];
  return new Map(listed.map((link) => [link.ifname, link]));
}

function has(link: Link | undefined, address: string): boolean {
  return link?.addr_info?.some((each) => each.local === address) === true;
}

async function namespaces(): Promise<string[]> {
  const listed = await run('ip', ['-j', 'netns', 'list']);
  return listed.trim() === '' ? [] : (JSON.parse(listed) as { name: string }[]).map((each) => each.name);
}

export async function namespaceExists(host: HostLayout): Promise<boolean> {
  return (await namespaces()).includes(host.namespace);
}

/** Makes what is missing of the bridges, namespaces and cables, and plugs every cable in. */
export async function ensureNetwork(lab: Lab): Promise<void> {
  const present = await links();
  for (const name of networkNames) await ensureBridge(lab, name, present);
  const existing = await namespaces();
  for (const host of lab.hosts) {
    if (!existing.includes(host.namespace)) await ip('netns', 'add', host.namespace);
    await ensureCables(lab, host, present);
  }
}

async function ensureBridge(lab: Lab, name: NetworkName, present: Map<string, Link>): Promise<void> {
  const { bridge, gateway } = lab.networks[name];
  const taken = [...present.values()].find((link) => link.ifname !== bridge && has(link, gateway));
  if (taken !== undefined) {
    throw new LabError(
      `${taken.ifname} has the address ${gateway} already`,
      'choose an instance with another number: LOCKSTEP_LAB',
    );
  }
  if (!present.has(bridge)) await ip('link', 'add', bridge, 'type', 'bridge');
  writeFileSync(`/proc/sys/net/ipv6/conf/${bridge}/disable_ipv6`, '1');
  const devices = lab.hosts.flatMap((host) => [host.bmcAddress, host.secondBmcAddress]);
  const wanted = name === 'b' ? [gateway, ...devices] : [gateway];
  for (const address of wanted) {
    if (!has(present.get(bridge), address)) await ip('address', 'add', `${address}/24`, 'dev', bridge);
  }
  await ip('link', 'set', bridge, 'up');
}

async function ensureCables(lab: Lab, host: HostLayout, present: Map<string, Link>): Promise<void> {
  await ip('-n', host.namespace, 'link', 'set', 'lo', 'up');
  for (const name of networkNames) {
    const [outside, inside] = [host.links[name], deviceIn[name]];
    if (!present.has(outside)) {
      await ip('link', 'add', outside, 'type', 'veth', 'peer', 'name', inside, 'netns', host.namespace);
    }
    writeFileSync(`/proc/sys/net/ipv6/conf/${outside}/disable_ipv6`, '1');
    await ip('link', 'set', outside, 'master', lab.networks[name].bridge);
    const within = await links('-n', host.namespace);
    if (!has(within.get(inside), host.addresses[name])) {
      await ip('-n', host.namespace, 'address', 'add', `${host.addresses[name]}/24`, 'dev', inside);
    }
    await ip('-n', host.namespace, 'link', 'set', inside, 'up');
    await plug(host, name, true);
  }
}

/** Plugs the cable in or pulls it: the host's own end then sees no carrier. */
export async function plug(host: HostLayout, network: NetworkName, inserted: boolean): Promise<void> {
  await ip('link', 'set', host.links[network], inserted ? 'up' : 'down');
}

export async function plugged(host: HostLayout, network: NetworkName): Promise<boolean> {
  const { code, stdout } = await attempt('ip', ['-j', 'link', 'show', host.links[network]]);
  if (code !== 0) return false;
  const [link] = JSON.parse(stdout) as Link[];
  return link?.flags.includes('UP') === true;
}

/**
 * Limits what the host sends and what it gets on network a.
 *
 * @param rate - in tc's words, such as `100mbit`; undefined takes the limit away
 */
export async function limit(host: HostLayout, rate: string | undefined): Promise<void> {
  if (rate !== undefined && !/^\d+(\.\d+)?([kmgt]?bit|[kmgt]?bps)$/i.test(rate)) {
    throw new LabError(`"${rate}" is no rate`, 'for example 100mbit, or off');
  }
  const ends = [
    { scope: [], device: host.links.a },
    { scope: ['-n', host.namespace], device: deviceIn.a },
  ];
  for (const { scope, device } of ends) {
    if (rate === undefined) await attempt('tc', [...scope, 'qdisc', 'del', 'dev', device, 'root']);
    // The bucket holds several of the 64 KiB packets that virtual cables carry, or none would ever pass.
    else
      await run('tc', [
        ...scope,
        'qdisc',
        'replace',
        'dev',
        device,
        'root',
        'tbf',
        'rate',
        rate,
        'burst',
        '256kb',
        'latency',
        '200ms',
      ]);
  }
}

export async function removeNetwork(lab: Lab): Promise<void> {
  const existing = await namespaces();
  for (const host of lab.hosts) {
    // Its cables go with it; a cable whose namespace was never made is taken away by itself.
    if (existing.includes(host.namespace)) await ip('netns', 'delete', host.namespace);
  }
  const devices = [
    ...lab.hosts.flatMap((host) => Object.values(host.links)),
    ...networkNames.map((name) => lab.networks[name].bridge),
  ];
  const present = await links();
  // The kernel takes a cable away some time after its namespace: one that vanishes in this moment is removed, too.
  for (const device of devices.filter((each) => present.has(each))) await attempt('ip', ['link', 'delete', device]);
  const after = await links();
  const left = devices.filter((device) => after.has(device));
  if (left.length > 0) throw new LabError(`could not remove ${left.join(', ')}`);
}
