// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { LabError } from './errors.js';

/** `a` carries consensus, calls and guests' memory; `b` is for management, and the BMCs are on it. */
export type NetworkName = 'a' | 'b';
export const networkNames: readonly NetworkName[] = ['a', 'b'];

export interface NetworkLayout {
  bridge: string;
  /** The root namespace's own address on the bridge. */
  gateway: string;
  cidr: string;
}

export interface HostLayout {
  /** Also its Consul node name, its Lockstep node name and its hostname. */
  name: string;
  uuid: string;
  /** Network namespace. */
  namespace: string;
  /** Everything that is this host's own. */
  dir: string;
  addresses: Record<NetworkName, string>;
  /** The root namespace's end of each of its two cables. */
  links: Record<NetworkName, string>;
  bmcAddress: string;
  /** Of its second power device, which is there in one mode of the first only. */
  secondBmcAddress: string;
  libvirtSocket: string;
}

/** One instance of the lab: what it is called and where everything of it lies. Nothing here touches the machine. */
export interface Lab {
  name: string;
  /** The checkout that runs it. */
  checkout: string;
  stateDir: string;
  /** The same for all hosts: disk images. */
  sharedDir: string;
  /** Where tests ask services to stand still at named points. */
  pointsDir: string;
  networks: Record<NetworkName, NetworkLayout>;
  hosts: readonly HostLayout[];
}

const hostCount = 3;
/** `sun_path` holds 108 bytes with its final zero. */
const longestSocketPath = 107;

/** The folder with buf.yaml above this file: it is the same for the sources and for what is built from them. */
function findCheckout(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(folder, 'buf.yaml'))) {
    const parent = dirname(folder);
    if (parent === folder) throw new LabError('the lab does not run outside of a checkout');
    folder = parent;
  }
  return folder;
}

/** A UUID that follows from a text. */
export function uuidOf(text: string): string {
  const hex = createHash('sha256').update(text).digest('hex');
  return [hex.slice(0, 8), hex.slice(8, 12), `8${hex.slice(13, 16)}`, `8${hex.slice(17, 20)}`, hex.slice(20, 32)].join(
    '-',
  );
}

/**
 * Lays out the instance called `name` (`LOCKSTEP_LAB`, else `ls`). Up to four letters and a number: the letters
 * begin the names of its devices (which hold 15 characters), the number picks its networks, so that two instances
 * can run side by side: 10.77.(2 × number).0/24 and the one after it.
 */
export function layout(env: NodeJS.ProcessEnv = process.env): Lab {
  const name = env['LOCKSTEP_LAB'] ?? 'ls';
  const match = /^[a-z]{1,4}(\d{0,2})$/.exec(name);
  if (match === null) {
    throw new LabError(
      `LOCKSTEP_LAB is "${name}"; it must be one to four small letters and then at most two digits`,
      'for example LOCKSTEP_LAB=ls2',
    );
  }
  const number = Number(match[1] ?? 0);
  const stateDir = join(env['LOCKSTEP_LAB_STATE'] ?? '/var/lib/lockstep-lab', name);
  const networkOf = (offset: number): NetworkLayout => {
    const base = `10.77.${2 * number + offset}`;
    return { bridge: `${name}br${offset}`, gateway: `${base}.254`, cidr: `${base}.0/24` };
  };
  const networks = { a: networkOf(0), b: networkOf(1) };
  const hosts = Array.from({ length: hostCount }, (_, index) => hostOf(name, stateDir, networks, index + 1));
  return {
    name,
    checkout: findCheckout(),
    stateDir,
    sharedDir: join(stateDir, 'shared'),
    pointsDir: join(stateDir, 'points'),
    networks,
    hosts,
  };
}

function hostOf(lab: string, stateDir: string, networks: Lab['networks'], number: number): HostLayout {
  const name = `h${number}`;
  const dir = join(stateDir, name);
  const libvirtSocket = join(dir, 'run/libvirt/libvirt-sock');
  if (Buffer.byteLength(libvirtSocket) > longestSocketPath) {
    throw new LabError(
      `the state folder's path is too long for a socket: ${libvirtSocket}`,
      'set LOCKSTEP_LAB_STATE to a shorter one',
    );
  }
  return {
    name,
    uuid: uuidOf(`lockstep lab ${lab} ${name}`),
    namespace: `${lab}-${name}`,
    dir,
    addresses: { a: addressIn(networks.a, number), b: addressIn(networks.b, number) },
    links: { a: `${lab}a${number}`, b: `${lab}b${number}` },
    bmcAddress: addressIn(networks.b, 100 + number),
    secondBmcAddress: addressIn(networks.b, 110 + number),
    libvirtSocket,
  };
}

function addressIn(network: NetworkLayout, last: number): string {
  return network.cidr.replace('.0/24', `.${last}`);
}

export function hostNamed(lab: Lab, name: string): HostLayout {
  const host = lab.hosts.find((candidate) => candidate.name === name);
  if (host === undefined) {
    throw new LabError(`there is no host "${name}"`, `the hosts are ${lab.hosts.map((each) => each.name).join(', ')}`);
  }
  return host;
}
