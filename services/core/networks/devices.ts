// SPDX-License-Identifier: Apache-2.0
import { NetworkKind, type Network } from '@lockstep/sdk/v1';

/** The kernel's limit for names of links. */
export const LONGEST_LINK_NAME = 15;
/** What VXLAN's headers take of each packet of the uplink, over IPv4. */
export const VXLAN_OVERHEAD_BYTES = 50;

/**
 * The link by which a network's bridge leaves the host: the uplink itself, or a sub-interface that is made for it. Its
 * name tells what it is, and is the same on every host.
 */
export function deviceOf({ kind, uplink, tag }: Pick<Network, 'kind' | 'uplink' | 'tag'>): string {
  switch (kind) {
    case NetworkKind.VLAN: {
      const usual = `${uplink}.${String(tag)}`;
      return usual.length <= LONGEST_LINK_NAME ? usual : `v${String(tag)}.${shortHash(uplink)}`;
    }
    case NetworkKind.VXLAN:
      return `vx${String(tag)}`;
    case NetworkKind.UNTAGGED:
    case NetworkKind.UNSPECIFIED:
    case NetworkKind.UNRECOGNIZED:
      return uplink;
  }
}

/** Whether links may be called this: what the kernel takes, less what would confuse a person or a shell. */
export function isLinkName(name: string): boolean {
  return /^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$/.test(name) && !RESERVED.has(name);
}

/** Names that mean something else below /proc/sys/net, or that every host has. */
const RESERVED: ReadonlySet<string> = new Set(['all', 'default', 'lo']);

/** FNV-1a, for uplinks whose names leave no room for a tag. */
function shortHash(text: string): string {
  let hash = 0x81_1c_9d_c5;
  for (const character of text) hash = Math.imul(hash ^ (character.codePointAt(0) ?? 0), 0x01_00_01_93) >>> 0;
  return hash.toString(16).padStart(8, '0');
}
