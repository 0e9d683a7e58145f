// SPDX-License-Identifier: Apache-2.0

interface Lock {
  holder: string;
  address: string;
}

/** Whose clients use an image, seen from the question which of them are a dead host's. */
export interface Sorted<L extends Lock> {
  /** Locks that its guests held. */
  toBreak: L[];
  /** Its clients, each once: those and others that have the image open. */
  toShutOut: string[];
  /** Locks of somebody else: not ours to break. */
  foreign: L[];
}

/**
 * Sorts who uses an image by the host's addresses. `shared` are addresses that other nodes have as well, such as those of
 * a private bridge: they tell nobody apart, so who comes from there counts as somebody else.
 */
export function sortByHost<L extends Lock>(
  { locks, watchers }: { locks: readonly L[]; watchers: readonly string[] },
  { own, shared }: { own: readonly string[]; shared: ReadonlySet<string> },
): Sorted<L> {
  const isOwn = (address: string): boolean => {
    const ip = ipOf(address);
    return ip !== undefined && !shared.has(ip) && own.includes(ip);
  };
  const toBreak = locks.filter(({ address }) => isOwn(address));
  return {
    toBreak,
    toShutOut: [...new Set([...toBreak.map(({ address }) => address), ...watchers.filter(isOwn)])],
    foreign: locks.filter(({ address }) => !isOwn(address)),
  };
}

/** The IP address in an address as Ceph writes it, e.g. `10.0.0.1:0/123` or `v2:[fd00::1]:3300/0`; undefined: it is none. */
export function ipOf(address: string): string | undefined {
  const { bracketed, plain } = /^(?:\w+:)?(?:\[(?<bracketed>[^\]]+)\]|(?<plain>[\d.]+)):\d+\/\d+$/.exec(address)?.groups ?? {};
  return bracketed ?? plain;
}

/** The host in host:port. */
export function hostOf(address: string): string {
  return address.slice(0, address.lastIndexOf(':')).replace(/^\[|\]$/g, '');
}
