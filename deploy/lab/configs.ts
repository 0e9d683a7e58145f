// SPDX-License-Identifier: Apache-2.0
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { stringify } from 'yaml';
import { bmcMode } from './bmc.js';
import { credentialsOf, type DeviceName } from './bmc-device.js';
import { agentUser, hostCephConfigFile } from './ceph-files.js';
import { consulPort } from './consul.js';
import { readIfThere, writeWhole } from './files.js';
import type { HostLayout, Lab } from './layout.js';
import { watchdogDevice, watchdogSeconds } from './watchdog.js';

export type ServiceName = 'node-agent' | 'scheduler' | 'fencer';

export const ports: Record<ServiceName, number> = { 'node-agent': 7701, scheduler: 7702, fencer: 7703 };

/** The address that the CLI and other programs call: any host's Scheduler will do. */
export const serversOf = (lab: Lab) => lab.hosts.map((host) => `${host.addresses.a}:${ports.scheduler}`);

function common(lab: Lab, host: HostLayout, service: ServiceName): object {
  return {
    node: host.name,
    listen: `${host.addresses.a}:${ports[service]}`,
    advertise: `${host.addresses.a}:${ports[service]}`,
    consul: { address: `127.0.0.1:${consulPort}` },
    insecure: { allow_cidrs: [lab.networks.a.cidr, lab.networks.b.cidr] },
  };
}

const bmcFileOf = (host: HostLayout) => join(host.dir, 'lockstep/bmc.yaml');

/** Every node's power devices, on every host: its peers must be able to check them, and any host may lead. */
function bmcFile(lab: Lab): object {
  const device = (host: HostLayout, name: DeviceName) => ({ kind: 'ipmi', ...credentialsOf(host, name), cipher_suite: 3 });
  const second = lab.hosts.filter((host) => bmcMode(host) === 'second-device');
  return {
    nodes: Object.fromEntries(lab.hosts.map((host) => [host.name, device(host, 'bmc')])) as object,
    further: Object.fromEntries(second.map((host) => [host.name, [device(host, 'bmc2')]])) as object,
  };
}

const oneNetworkFile = (lab: Lab) => join(lab.stateDir, 'one-network');

/** Whether peers look for signs of life over network a alone; the agents know it from their next start on. */
export function useOneNetwork(lab: Lab, alone: boolean): void {
  writeWhole(oneNetworkFile(lab), String(alone));
}

/** How long the Fencers wait, where a lab is to waste less time than a cluster may; what they wait for stays. */
export interface FencerTimes {
  /** Between two of a silent host's throws. */
  throwSeconds: number;
  /** For one answer of a device. */
  deviceCallSeconds: number;
  /** From the order "off" until it must read so. */
  readBackSeconds: number;
}

const fencerTimesFile = (lab: Lab) => join(lab.stateDir, 'fencer-times.json');

/** The Fencers know them from their next start on; undefined: a cluster's own. */
export function useFencerTimes(lab: Lab, times: FencerTimes | undefined): void {
  if (times === undefined) rmSync(fencerTimesFile(lab), { force: true });
  else writeWhole(fencerTimesFile(lab), JSON.stringify(times));
}

/** Here hosts die one after another all day; a cluster's own default of the window would hold the second one back. */
function fencerTimes(lab: Lab): object {
  const window = { window_seconds: 10 };
  const text = readIfThere(fencerTimesFile(lab));
  if (text === undefined) return { fencing: window };
  const { throwSeconds, deviceCallSeconds, readBackSeconds } = JSON.parse(text) as FencerTimes;
  return {
    timings: { throw_seconds: throwSeconds },
    fencing: { ...window, device_call_seconds: deviceCallSeconds, read_back_seconds: readBackSeconds },
  };
}

/** Network a carries the calls; b is where peers look for signs of life besides. */
function furtherNetworks(lab: Lab, host: HostLayout): object {
  if (readIfThere(oneNetworkFile(lab)) === 'true') return {};
  return { further_addresses: [{ network: 'b', address: `${host.addresses.b}:${ports['node-agent']}` }] };
}

function selfFence(host: HostLayout): object {
  if (bmcMode(host) !== 'watchdog') return {};
  return { self_fence: { mode: 'watchdog', device: watchdogDevice(host), watchdog_seconds: watchdogSeconds } };
}

/** What a service is told besides. */
function own(lab: Lab, host: HostLayout, service: ServiceName): object {
  switch (service) {
    case 'node-agent':
      return {
        host_uuid: host.uuid,
        state_dir: join(host.dir, 'lockstep/state', service),
        hypervisor: { kind: 'libvirt', socket: '/run/libvirt/libvirt-sock', migration_address: host.addresses.a },
        bmc_file: bmcFileOf(host),
        ceph_config_file: hostCephConfigFile(host),
        ceph_user: agentUser,
        address_network: 'a',
        ...furtherNetworks(lab, host),
        ...selfFence(host),
      };
    case 'scheduler':
      return {};
    case 'fencer':
      return { bmc_file: bmcFileOf(host), ...fencerTimes(lab) };
  }
}

/** Every file that the service reads, with its text. */
export function serviceConfigurations(lab: Lab, host: HostLayout, service: ServiceName): [file: string, text: string][] {
  return [
    [bmcFileOf(host), stringify(bmcFile(lab))],
    [join(host.dir, 'lockstep', `${service}.yaml`), stringify({ ...common(lab, host, service), ...own(lab, host, service) })],
  ];
}
