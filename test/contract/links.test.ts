// SPDX-License-Identifier: Apache-2.0
import { randomBytes } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { attempt, run, until } from '../../deploy/lab/api.js';
import { systemClock } from '../../services/platform/clock/system.js';
import { createIpLinks } from '../../services/platform/host/ip-links.js';
import type { Link, Links } from '../../services/platform/host/links.js';
import { createSimulatedLinks } from '../../services/platform/host/simulated-links.js';

const LIMIT = { deadlineMs: 10_000 };

/** One kind of links with a cable `eth1` that has no address, and what only that kind can tell. */
interface Rig {
  links: Links;
  /** Whether the kernel has this kind of link; the simulated one has all. */
  has(kind: 'vlan' | 'vxlan'): Promise<boolean>;
  /** Somebody else makes a guest's end, as a hypervisor does. */
  addTap(name: string): Promise<void>;
  dispose(): Promise<void>;
}

/** iproute2 in a network namespace of the test's own. */
async function realRig(): Promise<Rig> {
  const namespace = `lc${randomBytes(3).toString('hex')}`;
  const inIt = ['ip', 'netns', 'exec', namespace];
  const ip = (...args: string[]) => run('ip', ['-n', namespace, ...args]);
  await run('ip', ['netns', 'add', namespace]);
  await ip('link', 'add', 'eth1', 'type', 'veth', 'peer', 'name', 'far1');
  for (const name of ['lo', 'eth1', 'far1']) await ip('link', 'set', name, 'up');
  return {
    links: createIpLinks({ clock: systemClock, before: inIt }),
    has: async (kind) => {
      const type = kind === 'vlan' ? ['link', 'eth1', 'name', 'probe0', 'type', 'vlan', 'id', '9'] : ['name', 'probe0', 'type', 'vxlan', 'id', '9', 'dstport', '4789'];
      const { code } = await attempt('ip', ['-n', namespace, 'link', 'add', ...type]);
      if (code === 0) await ip('link', 'delete', 'probe0');
      return code === 0;
    },
    addTap: async (name) => {
      await ip('tuntap', 'add', 'dev', name, 'mode', 'tap');
    },
    dispose: async () => {
      await run('ip', ['netns', 'delete', namespace]);
    },
  };
}

function simulatedRig(): Rig {
  const links = createSimulatedLinks();
  links.newProtected = false;
  return {
    links,
    has: () => Promise.resolve(true),
    addTap: (name) => {
      links.add({ name, kind: 'tap' });
      return Promise.resolve();
    },
    dispose: () => Promise.resolve(),
  };
}

const rigs: [string, () => Promise<Rig>][] = [
  ['simulated', () => Promise.resolve(simulatedRig())],
  ...(process.getuid?.() === 0 ? [['of a network namespace', realRig] as [string, () => Promise<Rig>]] : []),
];
if (rigs.length === 1) {
  if (process.env['CI'] === 'true') throw new Error('the real links are tested as root only');
  process.stderr.write('not root: the real links are NOT tested\n');
}

describe.each(rigs)('links %s', (_kind, create) => {
  let rig: Rig;
  beforeAll(async () => {
    rig = await create();
  });
  afterAll(async () => {
    await rig.dispose();
  });

  async function found(name: string): Promise<Link | undefined> {
    return (await rig.links.list(LIMIT)).find((link) => link.name === name);
  }

  it('tells what is there', async () => {
    expect(await found('lo')).toMatchObject({ kind: 'other', up: true, bridge: undefined, network: undefined });
    expect(await found('eth1')).toMatchObject({ kind: 'other', mtuBytes: 1_500, addresses: [], ipv6Off: false });
  });

  it('lets new links have no IPv6, once it was told so', async () => {
    await rig.addTap('tap0');
    expect(await found('tap0')).toMatchObject({ kind: 'tap', ipv6Off: false });
    expect(await rig.links.protectNew(LIMIT)).toBe(true);
    expect(await rig.links.protectNew(LIMIT)).toBe(false);
    await rig.addTap('tap1');
    expect(await found('tap1')).toMatchObject({ kind: 'tap', ipv6Off: true });
  });

  it('makes a bridge that is down, without IPv6 and marked, then ports of it', async () => {
    const { links } = rig;
    await links.make({ name: 'br7', network: 'lan 1', kind: 'bridge' }, LIMIT);
    expect(await found('br7')).toMatchObject({ kind: 'bridge', up: false, ipv6Off: true, network: 'lan 1' });
    await links.disableIpv6('eth1', LIMIT);
    await links.setMtu('eth1', 1_400, LIMIT);
    await links.join('eth1', 'br7', LIMIT);
    await links.setUp('br7', LIMIT);
    expect(await found('eth1')).toMatchObject({ ipv6Off: true, mtuBytes: 1_400, bridge: 'br7' });
    expect(await found('br7')).toMatchObject({ up: true });
  });

  it('fails in words where the kernel says no', async () => {
    const { links } = rig;
    await expect(links.setUp('nobody', LIMIT)).rejects.toThrow('Cannot find device');
    await expect(links.make({ name: 'br7', network: 'x', kind: 'bridge' }, LIMIT)).rejects.toThrow('File exists');
    await expect(links.join('lo', 'tap0', LIMIT)).rejects.toThrow();
  });

  it.each([
    ['vxlan', 'vx7'],
    ['vlan', 'eth1.7'],
  ] as const)('makes a %s where the kernel has it', async (kind, name) => {
    const hasIt = await rig.has(kind);
    const making = rig.links.make({ name, network: 'lan', kind, uplink: 'eth1', tag: 7 }, LIMIT);
    if (!hasIt) {
      process.stderr.write(`this kernel has no ${kind}: its commands are tested, not their effect\n`);
      await expect(making).rejects.toThrow(/not supported|Unknown device type/i);
      return;
    }
    await making;
    expect(await found(name)).toMatchObject({ kind, uplink: 'eth1', tag: 7, up: false, ipv6Off: true, network: 'lan' });
    await rig.links.remove(name, LIMIT);
  });

  it('removes, and what is not there is removed already', async () => {
    await rig.links.remove('br7', LIMIT);
    await rig.links.remove('br7', LIMIT);
    expect(await found('br7')).toBeUndefined();
    expect(await found('eth1')).toMatchObject({ bridge: undefined });
  });
});

describe('the commands', () => {
  it('of a VLAN come in this order, with IPv6 off before the link is marked or up', async () => {
    const said: string[] = [];
    const links = createIpLinks({
      clock: systemClock,
      run: (argv, _call, input) => {
        said.push([...argv, ...(input === '' ? [] : [`< ${input}`])].join(' '));
        return Promise.resolve({ exitCode: 0, stdout: '', stderr: '' });
      },
    });
    await links.make({ name: 'eth1.7', network: 'lan', kind: 'vlan', uplink: 'eth1', tag: 7 }, LIMIT);
    await links.setMtu('eth1.7', 1_400, LIMIT);
    await links.join('eth1.7', 'br7', LIMIT);
    await links.setUp('eth1.7', LIMIT);
    await links.remove('eth1.7', LIMIT);
    expect(said).toEqual([
      'ip link add name eth1.7 link eth1 type vlan id 7',
      'tee /proc/sys/net/ipv6/conf/eth1.7/disable_ipv6 < 1',
      'ip link set dev eth1.7 alias lockstep:lan',
      'ip link set dev eth1.7 mtu 1400',
      'ip link set dev eth1.7 master br7',
      'ip link set dev eth1.7 up',
      'ip link delete dev eth1.7',
    ]);
  });

  it('of a VXLAN name its port and a group for each identifier', async () => {
    const said: string[] = [];
    const links = createIpLinks({
      clock: systemClock,
      run: (argv) => {
        said.push(argv.join(' '));
        return Promise.resolve({ exitCode: 0, stdout: '', stderr: '' });
      },
    });
    await links.make({ name: 'vx66000', network: 'lan', kind: 'vxlan', uplink: 'eth1', tag: 66_000 }, LIMIT);
    expect(said[0]).toBe('ip link add name vx66000 type vxlan id 66000 dev eth1 dstport 4789 group 239.1.1.208 ttl 8');
  });

  it('that hang are ended at their limit, with all that they started', async () => {
    // The number of seconds is the mark to find it by.
    const hanging = `sleep 300.${String(process.pid)}${String(randomBytes(4).readUInt32BE())}`;
    const links = createIpLinks({ clock: systemClock, before: ['sh', '-c', `${hanging} & wait`] });
    await expect(links.setUp('eth1', { deadlineMs: 300 })).rejects.toThrow('300 ms');
    await until('its child is gone', 10_000, async () => {
      const { stdout } = await attempt('pgrep', ['-f', hanging]);
      return stdout === '' ? undefined : `process ${stdout}`;
    });
  });
});
