// SPDX-License-Identifier: Apache-2.0
import { NetworkKind, type Network } from '@lockstep/sdk/v1';
import { invalidField } from '../errors/catalogue.js';
import { deviceOf, isLinkName, LONGEST_LINK_NAME } from './devices.js';

const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}$/;
const LINK = `a link's name: at most ${String(LONGEST_LINK_NAME)} letters, digits, "_", "." and "-"`;
const MTU = { least: 1_280, most: 65_535 };
const TAGS: Partial<Record<NetworkKind, { what: string; most: number }>> = {
  [NetworkKind.VLAN]: { what: 'a VLAN ID', most: 4_094 },
  [NetworkKind.VXLAN]: { what: 'a VXLAN network identifier', most: 2 ** 24 - 1 },
};

/** Refuses a network that no host could offer. Throws INVALID_FIELD, naming the field. */
export function checkNetwork(network: Network): void {
  const { name, kind, bridge, uplink, tag, mtu } = network;
  if (!NAME.test(name)) throw wrong('name', name, 'at most 63 letters, digits, "_", "." and "-"');
  if (!isLinkName(bridge)) throw wrong('bridge', bridge, LINK);
  if (!isLinkName(uplink)) throw wrong('uplink', uplink, LINK);
  const kinds: NetworkKind[] = [NetworkKind.UNTAGGED, NetworkKind.VLAN, NetworkKind.VXLAN];
  if (!kinds.includes(kind)) throw wrong('kind', String(kind), 'UNTAGGED, VLAN or VXLAN');
  const tags = TAGS[kind];
  if (tags === undefined && tag !== 0) throw wrong('tag', String(tag), '0, as UNTAGGED has none');
  if (tags !== undefined && (tag < 1 || tag > tags.most)) {
    throw wrong('tag', String(tag), `${tags.what} from 1 to ${String(tags.most)}`);
  }
  if (mtu !== 0 && (mtu < MTU.least || mtu > MTU.most)) {
    throw wrong('mtu', String(mtu), `0 for the uplink's, or ${String(MTU.least)} to ${String(MTU.most)} bytes`);
  }
  if (bridge === uplink || bridge === deviceOf(network)) throw wrong('bridge', bridge, 'another name than its links have');
}

/** Refuses a network that stands in the way of another one. Throws INVALID_FIELD. */
export function checkBeside(network: Network, others: readonly Network[]): void {
  for (const other of others) {
    if (other.bridge === network.bridge) throw wrong('bridge', network.bridge, `one that ${other.name} does not have`);
    if (deviceOf(other) === deviceOf(network)) {
      throw wrong('tag', deviceOf(network), `a link that ${other.name} does not go out by`);
    }
    if (other.bridge === network.uplink || network.bridge === other.uplink) {
      throw wrong('bridge', network.bridge, `a link that ${other.name} does not use`);
    }
  }
}

function wrong(field: string, got: string, want: string): Error {
  return invalidField(`network.${field}`, got === '' ? 'nothing' : got, want);
}
