// SPDX-License-Identifier: Apache-2.0
import { bmcState } from './bmc.js';
import { requireUp } from './claim.js';
import { isBooted, isPoweredOn } from './host.js';
import type { HostLayout, Lab, NetworkName } from './layout.js';
import { attemptVirsh } from './libvirtd.js';
import { plugged } from './network.js';
import { partState, wantedGroups } from './parts.js';
import type { ProcessState } from './supervise.js';

export interface HostStatus {
  host: string;
  address: string;
  power: 'on' | 'off';
  booted: boolean;
  bmc: string;
  cables: Record<NetworkName, 'in' | 'out'>;
  parts: Record<string, ProcessState>;
  /** As libvirt lists them; undefined where libvirtd does not answer. */
  guests?: string[];
}

async function statusOf(host: HostLayout, withServices: boolean): Promise<HostStatus> {
  const cable = async (name: NetworkName) => ((await plugged(host, name)) ? ('in' as const) : ('out' as const));
  const bmc = bmcState(host);
  const guests = isBooted(host) ? await attemptVirsh(host, ['list', '--name'], 3_000) : undefined;
  return {
    host: host.name,
    address: host.addresses.a,
    power: isPoweredOn(host) ? 'on' : 'off',
    booted: isBooted(host),
    bmc: bmc.mode === 'up' ? bmc.process : bmc.mode,
    cables: { a: await cable('a'), b: await cable('b') },
    parts: Object.fromEntries(wantedGroups(withServices).flat().map((part) => [part.name, partState(host, part)])),
    ...(guests?.code === 0 ? { guests: guests.stdout.split('\n').filter(Boolean) } : {}),
  };
}

export function status(lab: Lab): Promise<HostStatus[]> {
  const { withServices } = requireUp(lab);
  return Promise.all(lab.hosts.map((host) => statusOf(host, withServices)));
}

export function statusTable(hosts: readonly HostStatus[]): string {
  const partNames = Object.keys(hosts[0]?.parts ?? {});
  const rows = [
    ['HOST', 'ADDRESS', 'POWER', 'BMC', 'CABLE A', 'CABLE B', ...partNames.map((name) => name.toUpperCase()), 'GUESTS'],
    ...hosts.map((each) => [
      each.host,
      each.address,
      each.booted ? each.power : `${each.power}, down`,
      each.bmc,
      each.cables.a,
      each.cables.b,
      ...partNames.map((name) => each.parts[name] ?? ''),
      each.guests === undefined ? '?' : each.guests.join(' ') || '-',
    ]),
  ];
  const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0)));
  return rows
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
