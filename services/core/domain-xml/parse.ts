// SPDX-License-Identifier: Apache-2.0
import type { Element } from '@xmldom/xmldom';
import { invalidXml, onlyChild, parseDocument, quoted } from './document.js';
import { readPlacementEpoch } from './epoch.js';
import { hugepagesOf, type HugepageMemory } from './hugepages.js';
import { scaled } from './memory-size.js';
import { numaCells, type NumaCell } from './numa-cells.js';

/** What Lockstep itself reads from a domain's definition; everything else is libvirt's affair. */
export interface DomainSummary {
  name: string;
  /** In lower case, with dashes. */
  uuid: string | undefined;
  /** The most that the guest can come to use: `maxMemory` where it is given, else `memory`, or its NUMA cells' sum. */
  memoryBytes: bigint;
  /** The most that the guest can come to use. */
  vcpus: number;
  /** What of its memory it takes from the host's huge pages, one entry for each size. */
  hugepages: readonly HugepageMemory[];
  /** Undefined: the domain carries none, so it is not ours. */
  placementEpoch: bigint | undefined;
}

/** Reads a domain's definition. Throws INVALID_DOMAIN_XML or DOMAIN_XML_TOO_LARGE, naming the element. */
export function parseDomainXml(text: string): DomainSummary {
  const { root } = parseDocument(text);
  const cells = numaCells(root);
  const memoryBytes = readMemory(root, cells);
  return {
    name: readName(root),
    uuid: readUuid(root),
    memoryBytes,
    hugepages: hugepagesOf(root, memoryBytes, cells),
    vcpus: readVcpus(root),
    placementEpoch: readPlacementEpoch(root),
  };
}

function readName(root: Element): string {
  const path = '/domain/name';
  const name = onlyChild(root, 'name', path)?.textContent ?? undefined;
  const want = 'a name of 1 to 255 characters, none of them "/" or a line end, not only blanks';
  if (name === undefined) throw invalidXml(path, 'none', want);
  if (name.trim() === '' || name.length > 255 || /[/\n\r]/.test(name)) throw invalidXml(path, quoted(name), want);
  return name;
}

function readUuid(root: Element): string | undefined {
  const path = '/domain/uuid';
  const uuid = onlyChild(root, 'uuid', path)?.textContent?.trim().toLowerCase();
  if (uuid === undefined) return undefined;
  // One digit repeated is what libvirt takes for a host without identity, and refuses.
  const isUuid = /^[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}$/.test(uuid) && !/^([0-9a-f-])(?:\1|-)*$/.test(uuid);
  if (!isUuid) throw invalidXml(path, quoted(uuid), 'a UUID such as 6d1a2c8e-45b7-4f0e-9a51-3f2f0c9a7b10');
  return uuid;
}

function readMemory(root: Element, cells: readonly NumaCell[]): bigint {
  // libvirt lets the sum of the NUMA cells stand in for `memory`, whatever that says.
  const ofCells = cells.length === 0 ? undefined : cells.reduce((sum, { bytes }) => sum + bytes, 0n);
  const sizes = [readSize(root, 'maxMemory'), ofCells, readSize(root, 'memory')];
  const memoryBytes = sizes.find((size) => size !== undefined);
  if (memoryBytes === undefined) throw invalidXml('/domain/memory', 'none', "the guest's memory");
  return memoryBytes;
}

function readSize(root: Element, name: 'memory' | 'maxMemory'): bigint | undefined {
  const path = `/domain/${name}`;
  const element = onlyChild(root, name, path);
  return element === undefined ? undefined : scaled(element.textContent ?? '', element.getAttribute('unit'), path);
}

function readVcpus(root: Element): number {
  const path = '/domain/vcpu';
  const text = onlyChild(root, 'vcpu', path)?.textContent ?? '1';
  const vcpus = /^\s*\d{1,5}\s*$/.test(text) ? Number.parseInt(text, 10) : 0;
  if (vcpus < 1 || vcpus > 65_535) throw invalidXml(path, quoted(text), 'a whole number from 1 to 65535');
  return vcpus;
}
