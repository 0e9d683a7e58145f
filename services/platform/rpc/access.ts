// SPDX-License-Identifier: Apache-2.0
import { BlockList, isIP } from 'node:net';
import { LockstepError, invalidField } from '../../core/errors/catalogue.js';

/** Where plain text is accepted from beside loopback, e.g. `10.0.0.0/24` or `fd00::/8`. */
export interface InsecureAccess {
  allowCidrs: readonly string[];
}

function family(ip: string): 'ipv4' | 'ipv6' {
  return isIP(ip) === 6 ? 'ipv6' : 'ipv4';
}

function addCidr(list: BlockList, cidr: string): void {
  const [network = '', bits = ''] = cidr.split('/', 2);
  const longest = isIP(network) === 6 ? 128 : 32;
  if (isIP(network) === 0 || !/^\d{1,3}$/.test(bits) || Number(bits) > longest) {
    throw invalidField('insecure.allow_cidrs', cidr, 'ADDRESS/BITS, e.g. 10.0.0.0/24');
  }
  list.addSubnet(network, Number(bits), family(network));
}

/** The IP of a peer that gRPC names as ip:port; an IPv4 address in IPv6's notation as IPv4. */
function peerIp(peer: string): string {
  return peer.slice(0, peer.lastIndexOf(':')).replace(/^\[|\]$/g, '').replace(/^::ffff:(?=\d+\.)/, '');
}

/**
 * A check of the peer of a plain-text call; throws NOT_ALLOWED for one that is neither on loopback nor in an allowed
 * network.
 */
export function plainTextGuard({ allowCidrs }: InsecureAccess): (peer: string) => void {
  const allowed = new BlockList();
  allowed.addSubnet('127.0.0.0', 8, 'ipv4');
  allowed.addAddress('::1', 'ipv6');
  for (const cidr of allowCidrs) addCidr(allowed, cidr);
  return (peer) => {
    const ip = peerIp(peer);
    if (isIP(ip) !== 0 && allowed.check(ip, family(ip))) return;
    const message = 'plain text is not accepted from this address; use TLS, or list its network in insecure.allow_cidrs';
    throw new LockstepError('NOT_ALLOWED', message, { peer: ip });
  };
}
