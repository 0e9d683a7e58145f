// SPDX-License-Identifier: Apache-2.0
import { XMLSerializer } from '@xmldom/xmldom';
import { type CallOptions, type Connection, CpuComparison } from '@lockstep/node-libvirt';
import { childElements, parseDocument } from '../../core/domain-xml/document.js';
import { parseDomainXml } from '../../core/domain-xml/parse.js';
import { HypervisorError } from './hypervisor.js';

/** Whether libvirt could run this domain: emulator, machine type, CPU model, memory. Fails with `refused`. */
export async function checkFit(connection: Connection, xml: string, options: CallOptions): Promise<void> {
  const { memoryBytes } = parseDomainXml(xml);
  const node = await connection.host.nodeInfo(options);
  if (memoryBytes > node.memoryBytes) {
    const had = `the host has ${String(node.memoryBytes)}`;
    throw new HypervisorError('refused', `the domain needs ${String(memoryBytes)} bytes of memory, ${had}`);
  }
  const { root } = parseDocument(xml);
  const type = childElements(root, 'os').flatMap((os) => childElements(os, 'type'))[0];
  const emulator = childElements(root, 'devices').flatMap((devices) => childElements(devices, 'emulator'))[0];
  await connection.host
    .domainCapabilities(
      given({
        virtType: root.getAttribute('type'),
        arch: type?.getAttribute('arch'),
        machine: type?.getAttribute('machine'),
        emulator: emulator?.textContent?.trim(),
      }),
      options,
    )
    .catch((error: unknown) => {
      throw refusal('the host cannot run this type of machine', error);
    });
  const cpu = childElements(root, 'cpu').find((element) => childElements(element, 'model').length > 0);
  // An emulated CPU can be any; only KVM is bound to what the host's has.
  if (cpu === undefined || root.getAttribute('type') !== 'kvm') return;
  const comparison = await connection.host
    .compareCpu(new XMLSerializer().serializeToString(cpu), 0, options)
    .catch((error: unknown) => {
      throw refusal("the host cannot compare the domain's CPU model", error);
    });
  if (comparison === CpuComparison.INCOMPATIBLE) {
    throw new HypervisorError('refused', "the host's CPU lacks what the domain's CPU model needs");
  }
}

function given(query: Record<string, string | null | undefined>): Record<string, string> {
  return Object.fromEntries(Object.entries(query).filter((entry): entry is [string, string] => Boolean(entry[1])));
}

/** libvirt's own answer is a refusal; one that did not come is not. */
function refusal(what: string, error: unknown): Error {
  if (!(error instanceof Error) || error.name !== 'LibvirtError') return error as Error;
  return new HypervisorError('refused', `${what}: ${error.message}`, { cause: error });
}
