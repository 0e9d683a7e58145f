// SPDX-License-Identifier: Apache-2.0
import type { Link, LinkSpec } from '../../core/networks/link.js';
import type { CallLimit } from '../hypervisor/hypervisor.js';

export type { Link, LinkKind, LinkSpec } from '../../core/networks/link.js';

/** The kernel said no; the message holds its own words. */
export class LinkError extends Error {
  override readonly name = 'LinkError';
}

/** A host's network links. Every call may fail with LinkError, and with DeadlineExceeded at its limit. */
export interface Links {
  list(call: CallLimit): Promise<Link[]>;
  /**
   * From now on links come to be without IPv6, those that a hypervisor makes for its guests too. True where that had to
   * be changed.
   */
  protectNew(call: CallLimit): Promise<boolean>;
  /** Makes a link: down, without IPv6, and marked as made for its network. */
  make(spec: LinkSpec, call: CallLimit): Promise<void>;
  /** Takes a link's IPv6 addresses and lets it have none any more; at once, whether it is up or down. */
  disableIpv6(name: string, call: CallLimit): Promise<void>;
  setMtu(name: string, bytes: number, call: CallLimit): Promise<void>;
  /** Makes a link a port of a bridge. */
  join(name: string, bridge: string, call: CallLimit): Promise<void>;
  setUp(name: string, call: CallLimit): Promise<void>;
  /** Done where it is not there. */
  remove(name: string, call: CallLimit): Promise<void>;
}
