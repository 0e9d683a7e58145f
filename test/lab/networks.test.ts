// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { afterAll, afterEach, beforeAll, expect, it } from 'vitest';
import {
  attempt,
  attemptVirsh,
  ensureImage,
  guestXml,
  hostNamed,
  run,
  signalPart,
  until,
  virsh,
  type HostLayout,
} from '../../deploy/lab/api.js';
import { removeGuests, startGuest, withXmlFile } from './guest.js';
import { killPart, lab, lockstep, meshUp, ok, shown, startPartAgain } from './mesh.js';

const BRIDGE = 'brtest';
const VXLAN = 'vx77';
const NODE_LIMIT_MS = 60_000;
/** Agents look at links every ten seconds, on a busy machine. */
const REPAIR_LIMIT_MS = 90_000;

const INTERFACE = `<interface type='bridge'><source bridge='${BRIDGE}'/><model type='virtio'/><rom enabled='no'/></interface>`;

/** Sees every event of links and addresses in a host's network namespace. */
interface Watcher {
  lines(): string[];
  stop(): void;
}

const watchers: Watcher[] = [];

async function watch(host: HostLayout): Promise<Watcher> {
  const child = spawn('ip', ['-n', host.namespace, '-o', 'monitor', 'link', 'address'], { stdio: ['ignore', 'pipe', 'inherit'] });
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (more: string) => {
    text += more;
  });
  const watcher: Watcher = { lines: () => text.split('\n').filter(Boolean), stop: () => child.kill('SIGKILL') };
  watchers.push(watcher);
  // It listens once it hears of something that is made for it to hear.
  await until(`the watcher of ${host.name} listens`, NODE_LIMIT_MS, async () => {
    await attempt('ip', ['-n', host.namespace, 'link', 'add', 'hear0', 'type', 'bridge']);
    await attempt('ip', ['-n', host.namespace, 'link', 'delete', 'hear0']);
    return text.includes('hear0') ? undefined : 'it hears nothing';
  });
  return watcher;
}

const ipv6 = (watcher: Watcher): string[] => watcher.lines().filter((line) => /\binet6\b/.test(line));
const heardOf = (watcher: Watcher, link: string): boolean => watcher.lines().some((line) => line.includes(link));
const setDefault = (host: HostLayout, value: '0' | '1') =>
  run('ip', ['netns', 'exec', host.namespace, 'sh', '-c', `echo ${value} >/proc/sys/net/ipv6/conf/default/disable_ipv6`]);
const links = async (host: HostLayout): Promise<string[]> =>
  (JSON.parse(await run('ip', ['-n', host.namespace, '-j', 'link', 'show'])) as { ifname: string }[]).map(({ ifname }) => ifname);

interface ShownNetwork {
  nodes: { node: string; ready: boolean; detail: string }[];
}

async function readyEverywhere(name: string): Promise<void> {
  await until(`network ${name} is ready on every node`, NODE_LIMIT_MS, async () => {
    const { nodes } = await shown<ShownNetwork>('network', 'show', name);
    const wanting = nodes.filter(({ ready }) => !ready);
    return nodes.length === lab.hosts.length && wanting.length === 0 ? undefined : JSON.stringify(nodes);
  });
}

beforeAll(meshUp);
afterEach(removeGuests);
afterAll(async () => {
  for (const watcher of watchers) watcher.stop();
  await lockstep('network', 'delete', 'test');
});

it('ancestor 26: no link of a network has an IPv6 address at any moment of its life', async () => {
  const [h1, h2] = [hostNamed(lab, 'h1'), hostNamed(lab, 'h2')];
  const before = new Map<string, Watcher>();
  for (const host of lab.hosts) {
    await killPart(host.name, 'node-agent');
    await setDefault(host, '0');
    before.set(host.name, await watch(host));
  }
  for (const host of lab.hosts) await startPartAgain(host.name, 'node-agent');
  await meshUp();

  await ok('network', 'create', 'test', '--bridge', BRIDGE, '--uplink', 'eth0', '--vxlan', '77', '--mtu', '1400');
  await readyEverywhere('test');
  // It is one network: what one host's bridge sends, another's gets.
  for (const [index, host] of lab.hosts.entries()) {
    await run('ip', ['-n', host.namespace, 'address', 'add', `10.99.77.${index + 1}/24`, 'dev', BRIDGE]);
  }
  await run('ip', ['netns', 'exec', h1.namespace, 'bash', '-c', 'for i in 1 2 3 4 5; do timeout 2 bash -c "exec 3<>/dev/tcp/10.99.77.2/9" 2>&1 | grep -q refused && exit 0; done; exit 1']);
  for (const [index, host] of lab.hosts.entries()) {
    await run('ip', ['-n', host.namespace, 'address', 'delete', `10.99.77.${index + 1}/24`, 'dev', BRIDGE]);
  }

  const guest = await startGuest('h1', { kind: 'counter' }, INTERFACE);
  const inUse = await lockstep('network', 'delete', 'test');
  expect(inUse).toMatchObject({ code: 4, stderr: expect.stringContaining('NETWORK_IN_USE') as string });
  expect(inUse.stderr).toContain(guest.name);
  await ok('vm', 'migrate', guest.name, 'h2', '--force-live', '--wait', '--timeout', '120s');
  await guest.runsOnlyOn('h2');
  await guest.countsOn();
  await ok('vm', 'restart', guest.name, '--force');
  await ok('vm', 'stop', guest.name, '--force', '--wait', '--timeout', '120s');
  await ok('vm', 'start', guest.name, '--wait', '--timeout', '120s');
  await removeGuests();
  await ok('network', 'delete', 'test');
  await until('its links are gone', NODE_LIMIT_MS, async () => {
    const left = (await Promise.all(lab.hosts.map(links))).flat().filter((name) => name === BRIDGE || name === VXLAN);
    return left.length === 0 ? undefined : left.join(' ');
  });

  for (const [name, watcher] of before) {
    for (const link of [BRIDGE, VXLAN]) expect(heardOf(watcher, link), `${name} hears of ${link}`).toBe(true);
    expect(ipv6(watcher), name).toEqual([]);
  }
  for (const host of [h1, h2]) expect(before.get(host.name)?.lines().join('\n')).toContain('vnet');
});

it('with the protection switched off the watcher does see one, and the agent takes it away and says so', async () => {
  const h1 = hostNamed(lab, 'h1');
  await ok('network', 'create', 'test', '--bridge', BRIDGE, '--uplink', 'eth0', '--vxlan', '77');
  await readyEverywhere('test');
  const watcher = await watch(h1);
  const name = `outsider-${randomBytes(3).toString('hex')}`;
  await ensureImage(lab, { kind: 'counter' });
  const xml = guestXml(lab, { kind: 'counter', name }).replace('</devices>', `${INTERFACE}</devices>`);
  signalPart(h1, 'node-agent', 'SIGSTOP');
  try {
    await setDefault(h1, '0');
    await withXmlFile(xml, (file) => virsh(h1, ['create', file]));
    await until('the watcher sees an IPv6 address', NODE_LIMIT_MS, () =>
      Promise.resolve(ipv6(watcher).some((line) => line.includes('fe80')) ? undefined : watcher.lines().slice(-5).join('\n')),
    );
  } finally {
    signalPart(h1, 'node-agent', 'SIGCONT');
  }
  try {
    await until('the agent says what it repaired', REPAIR_LIMIT_MS, async () => {
      const { nodes } = await shown<ShownNetwork>('network', 'show', 'test');
      const detail = nodes.find(({ node }) => node === 'h1')?.detail ?? '';
      return detail.includes('repaired: took IPv6 from vnet') ? undefined : detail;
    });
    const left = await run('ip', ['-n', h1.namespace, '-6', '-o', 'address', 'show', 'scope', 'link']);
    expect(left).not.toContain('vnet');
  } finally {
    await attemptVirsh(h1, ['destroy', name]);
    await ok('network', 'delete', 'test');
  }
});

it('a VM whose bridge a node does not have goes elsewhere, and is refused there by name', async () => {
  const guest = await startGuest('h1');
  await run('ip', ['-n', hostNamed(lab, 'h1').namespace, 'link', 'add', 'brown', 'type', 'bridge']);
  try {
    const own = INTERFACE.replace(BRIDGE, 'brown');
    await run('ip', ['-n', hostNamed(lab, 'h1').namespace, 'link', 'set', 'brown', 'up']);
    await until('h1 tells of the bridge', REPAIR_LIMIT_MS, async () => {
      const { node } = await shown<{ node: { bridges?: string[] } }>('node', 'show', 'h1');
      return node.bridges?.includes('brown') === true ? undefined : JSON.stringify(node.bridges);
    });
    const bound = await startGuest('h1', { kind: 'counter' }, own);
    const moved = await lockstep('vm', 'migrate', bound.name, 'h2', '--force-live', '--wait');
    expect(moved).toMatchObject({ code: 4, stderr: expect.stringContaining('BRIDGE_MISSING') as string });
    const anywhere = await lockstep('vm', 'migrate', bound.name, '--force-live', '--wait');
    expect(anywhere).toMatchObject({ code: 4, stderr: expect.stringContaining('has no brown') as string });
    await bound.runsOnlyOn('h1');
    await guest.countsOn();
    await removeGuests();
  } finally {
    await attempt('ip', ['-n', hostNamed(lab, 'h1').namespace, 'link', 'delete', 'brown']);
  }
});
