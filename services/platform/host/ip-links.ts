// SPDX-License-Identifier: Apache-2.0
import { z } from 'zod';
import type { Clock } from '../clock/clock.js';
import type { CallLimit } from '../hypervisor/hypervisor.js';
import { CannotRun, runProgram, type ProgramOutput } from '../process/run-program.js';
import { LinkError, type Link, type LinkKind, type Links, type LinkSpec } from './links.js';

export interface IpLinksOptions {
  clock: Clock;
  /** Words before every command, for example those that enter a network namespace. */
  before?: readonly string[];
  /** Runs a command; the real one unless told. */
  run?: (argv: readonly string[], call: CallLimit, input: string) => Promise<ProgramOutput>;
}

/** How a link says for which network it was made. */
const MARK = 'lockstep:';
/** IANA's port: the kernel's own default is an older one. */
const VXLAN_PORT = 4_789;
/** Routers between the hosts that a VXLAN may pass. */
const VXLAN_TTL = 8;
const IPV6 = '/proc/sys/net/ipv6/conf';
/**
 * A line of JSON, then NAME/disable_ipv6:VALUE for every link, which is nothing where the kernel has no IPv6. One program
 * for both: starting one costs a service more than anything else that it does at a tick.
 */
const LIST = `ip -j -d address show || exit; cd ${IPV6} 2>/dev/null || exit 0; grep -H . */disable_ipv6 2>/dev/null || true`;

const listed = z.array(
  z.looseObject({
    ifname: z.string(),
    flags: z.array(z.string()).default([]),
    mtu: z.number(),
    master: z.string().optional(),
    link: z.string().nullish(),
    ifalias: z.string().optional(),
    linkinfo: z
      .looseObject({
        info_kind: z.string().optional(),
        info_data: z.looseObject({ id: z.number().optional(), link: z.string().optional() }).optional(),
      })
      .optional(),
    addr_info: z.array(z.looseObject({ local: z.string().optional(), scope: z.string().optional() })).default([]),
  }),
);

/** The links of the network namespace that this process runs in, by iproute2 and /proc. */
export function createIpLinks({ clock, before = [], run }: IpLinksOptions): Links {
  const runOne = run ?? ((argv: readonly string[], call: CallLimit, input: string) => runProgram(clock, argv, call, input));

  const command = async (argv: readonly string[], call: CallLimit, input = ''): Promise<string> => {
    let output: ProgramOutput;
    try {
      output = await runOne([...before, ...argv], call, input);
    } catch (error) {
      throw error instanceof CannotRun ? new LinkError(error.message) : error;
    }
    if (output.exitCode === 0) return output.stdout;
    throw new LinkError(`${argv.join(' ')}: ${output.stderr.trim() === '' ? 'it failed' : output.stderr.trim()}`);
  };
  const ip = async (call: CallLimit, ...words: string[]): Promise<void> => {
    await command(['ip', ...words], call);
  };
  const writeIpv6Off = async (name: string, call: CallLimit): Promise<void> => {
    await command(['tee', `${IPV6}/${name}/disable_ipv6`], call, '1');
  };

  return {
    async list(call) {
      const [links = '', ...ipv6] = (await command(['sh', '-c', LIST], call)).split('\n');
      return linksOf(links, ipv6);
    },
    async protectNew(call) {
      const told = (await command(['sh', '-c', `cat ${IPV6}/default/disable_ipv6 2>/dev/null || echo 1`], call)).trim();
      if (told === '1') return false;
      await writeIpv6Off('default', call);
      return true;
    },
    async make(spec, call) {
      await ip(call, 'link', 'add', 'name', spec.name, ...typeOf(spec));
      await writeIpv6Off(spec.name, call);
      await ip(call, 'link', 'set', 'dev', spec.name, 'alias', `${MARK}${spec.network}`);
    },
    disableIpv6: writeIpv6Off,
    setMtu: (name, bytes, call) => ip(call, 'link', 'set', 'dev', name, 'mtu', String(bytes)),
    join: (name, bridge, call) => ip(call, 'link', 'set', 'dev', name, 'master', bridge),
    setUp: (name, call) => ip(call, 'link', 'set', 'dev', name, 'up'),
    async remove(name, call) {
      try {
        await ip(call, 'link', 'delete', 'dev', name);
      } catch (error) {
        if (!(error instanceof LinkError) || !error.message.includes('Cannot find device')) throw error;
      }
    },
  };
}

/** Guests talk at once: a bridge of ours has one way out, so it needs no spanning tree and no delay. */
function typeOf(spec: LinkSpec): string[] {
  switch (spec.kind) {
    case 'bridge':
      return ['type', 'bridge', 'stp_state', '0', 'forward_delay', '0'];
    case 'vlan':
      return ['link', spec.uplink, 'type', 'vlan', 'id', String(spec.tag)];
    case 'vxlan':
      return [
        ...['type', 'vxlan', 'id', String(spec.tag), 'dev', spec.uplink, 'dstport', String(VXLAN_PORT)],
        ...['group', groupOf(spec.tag), 'ttl', String(VXLAN_TTL)],
      ];
  }
}

/** A multicast group of the organisation-local scope for each identifier, so that hosts need not know each other. */
function groupOf(tag: number): string {
  return `239.${String((tag >> 16) & 255)}.${String((tag >> 8) & 255)}.${String(tag & 255)}`;
}

/** What `ip -j -d address show` says, with what /proc says of IPv6. */
function linksOf(json: string, ipv6: readonly string[]): Link[] {
  const parsed = listed.safeParse(JSON.parse(json.trim() === '' ? '[]' : json));
  if (!parsed.success) throw new LinkError(`ip said what is not understood: ${parsed.error.message}`);
  const withIpv6 = new Set(ipv6.map((line) => /^([^/]+)\/disable_ipv6:0$/.exec(line)?.[1]));
  return parsed.data.map(({ ifname, flags, mtu, master, link, ifalias, linkinfo, addr_info }) => ({
    name: ifname,
    kind: kindOf(linkinfo?.info_kind),
    up: flags.includes('UP'),
    mtuBytes: mtu,
    bridge: master,
    uplink: link ?? linkinfo?.info_data?.link,
    tag: linkinfo?.info_data?.id,
    network: ifalias?.startsWith(MARK) === true ? ifalias.slice(MARK.length) : undefined,
    ipv6Off: !withIpv6.has(ifname),
    addresses: addr_info.flatMap(({ local, scope }) => (local === undefined || scope === 'link' ? [] : [local])),
  }));
}

function kindOf(kind: string | undefined): LinkKind {
  if (kind === 'bridge' || kind === 'vlan' || kind === 'vxlan') return kind;
  return kind === 'tun' ? 'tap' : 'other';
}
