// SPDX-License-Identifier: Apache-2.0

/** What a link is, as far as networks care. `tap`: a guest's end. */
export type LinkKind = 'bridge' | 'vlan' | 'vxlan' | 'tap' | 'other';

/** A network interface of a host. */
export interface Link {
  name: string;
  kind: LinkKind;
  up: boolean;
  mtuBytes: number;
  /** The bridge whose port it is. */
  bridge: string | undefined;
  /** What it goes out by: of a VLAN or VXLAN. */
  uplink: string | undefined;
  /** VLAN ID or VXLAN network identifier. */
  tag: number | undefined;
  /** The network it was made for; undefined: it was not made by an agent. */
  network: string | undefined;
  /** It neither has nor gets IPv6 addresses. */
  ipv6Off: boolean;
  /** Its own addresses, those of the link itself (fe80::/10) left out. */
  addresses: readonly string[];
}

/** A link that is to be made. */
export type LinkSpec = { name: string; network: string } & (
  | { kind: 'bridge' }
  | { kind: 'vlan' | 'vxlan'; uplink: string; tag: number }
);
