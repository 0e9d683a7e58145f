// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { stringify } from 'yaml';
import { credentialsOf } from './bmc-device.js';
import { consulPort } from './consul.js';
import type { HostLayout, Lab } from './layout.js';

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

/** Every node's BMC, on every host: its peers must be able to check it, and any host may lead. */
function bmcFile(lab: Lab): object {
  const nodes = lab.hosts.map((host) => [host.name, { kind: 'ipmi', ...credentialsOf(host), cipher_suite: 3 }]);
  return { nodes: Object.fromEntries(nodes) as object };
}

/** What a service is told besides. */
function own(host: HostLayout, service: ServiceName): object {
  switch (service) {
    case 'node-agent':
      return {
        host_uuid: host.uuid,
        state_dir: join(host.dir, 'lockstep/state', service),
        hypervisor: { kind: 'libvirt', socket: '/run/libvirt/libvirt-sock', migration_address: host.addresses.a },
        bmc_file: bmcFileOf(host),
      };
    case 'scheduler':
    case 'fencer':
      return {};
  }
}

/** Every file that the service reads, with its text. */
export function serviceConfigurations(lab: Lab, host: HostLayout, service: ServiceName): [file: string, text: string][] {
  return [
    [bmcFileOf(host), stringify(bmcFile(lab))],
    [join(host.dir, 'lockstep', `${service}.yaml`), stringify({ ...common(lab, host, service), ...own(host, service) })],
  ];
}
