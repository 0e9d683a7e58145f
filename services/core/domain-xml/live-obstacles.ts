// SPDX-License-Identifier: Apache-2.0
import type { Element } from '@xmldom/xmldom';
import { childElements, parseDocument } from './document.js';

/** What one kind of device must be for a live move to be ruled out, and how it is named. */
interface Rule {
  device: string;
  obstacle: (element: Element) => string | undefined;
}

const RULES: readonly Rule[] = [
  { device: 'hostdev', obstacle: (one) => `a ${attribute(one, 'type', 'host')} device of its host is passed through to it` },
  { device: 'interface', obstacle: interfaceObstacle },
  { device: 'disk', obstacle: (one) => hostDisks[attribute(one, 'type')] },
  { device: 'filesystem', obstacle: (one) => `a folder of its host is shared with it (${driverOf(one)})` },
  {
    device: 'shmem',
    obstacle: (one) => (attribute(one, 'role') === 'master' ? undefined : `it shares memory ${attribute(one, 'name')} with its host`),
  },
  {
    device: 'memory',
    obstacle: (one) => (attribute(one, 'model') === 'virtio-pmem' ? 'its virtio-pmem memory is a file of its host' : undefined),
  },
  {
    device: 'tpm',
    obstacle: (one) => (backendsOf(one).includes('passthrough') ? "its host's TPM is passed through to it" : undefined),
  },
  {
    device: 'smartcard',
    obstacle: (one) => (attribute(one, 'mode').startsWith('host') ? "its host's smartcard is passed through to it" : undefined),
  },
];

const hostDisks: Readonly<Record<string, string>> = {
  nvme: "an NVMe disk of its host is passed through to it",
  vhostuser: 'a disk is served to it by a process of its host (vhost-user)',
  vhostvdpa: 'a disk is served to it by a device of its host (vDPA)',
};

/**
 * What a domain has that libvirt refuses to move live, a sentence each; empty: nothing that its definition tells. Where
 * its disks are kept is not looked at. Throws INVALID_DOMAIN_XML or DOMAIN_XML_TOO_LARGE.
 */
export function liveObstacles(xml: string): string[] {
  const { root } = parseDocument(xml);
  const devices = childElements(root, 'devices');
  const found = RULES.flatMap(({ device, obstacle }) =>
    devices.flatMap((each) => childElements(each, device)).flatMap((one) => obstacle(one) ?? []),
  );
  return [...new Set([...found, ...cpuObstacles(root)])];
}

function interfaceObstacle(one: Element): string | undefined {
  const type = attribute(one, 'type');
  const port = childElements(one, 'mac').map((mac) => ` ${attribute(mac, 'address')}`)[0] ?? '';
  if (type === 'vdpa') return `its interface${port} is a vDPA device of its host`;
  if (type !== 'hostdev') return undefined;
  // With a virtual one beside it, the guest lives through the time without.
  const spare = childElements(one, 'teaming').some((teaming) => attribute(teaming, 'type') === 'transient');
  return spare ? undefined : `its interface${port} is a device of its host that is passed through to it`;
}

function cpuObstacles(root: Element): string[] {
  return childElements(root, 'cpu').flatMap((cpu) => {
    const invariant = childElements(cpu, 'feature').some(
      (feature) => attribute(feature, 'name') === 'invtsc' && attribute(feature, 'policy', 'require') === 'require',
    );
    return [
      ...(attribute(cpu, 'migratable') === 'off' ? ["it is given features of its host's CPU that cannot move (migratable='off')"] : []),
      ...(invariant ? ['its CPU has the feature invtsc'] : []),
    ];
  });
}

function driverOf(filesystem: Element): string {
  return childElements(filesystem, 'driver').map((driver) => attribute(driver, 'type'))[0] ?? '9p';
}

function backendsOf(tpm: Element): string[] {
  return childElements(tpm, 'backend').map((backend) => attribute(backend, 'type'));
}

function attribute(element: Element, name: string, otherwise = ''): string {
  return element.getAttribute(name) ?? otherwise;
}
