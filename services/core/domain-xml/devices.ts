// SPDX-License-Identifier: Apache-2.0
import { childElements, parseDocument } from './document.js';

/** What a domain needs of its host beside memory and processors. */
export interface DomainNeeds {
  /** Names of the bridges that its interfaces are ports of, each once. */
  bridges: string[];
  /** RBD images that it has as disks, as pool/name, each once. */
  rbdImages: string[];
  /** Files that it alone may write to: QEMU locks them. */
  lockedFiles: string[];
}

/** Reads what a domain needs of its host. Throws INVALID_DOMAIN_XML or DOMAIN_XML_TOO_LARGE. */
export function needsOf(xml: string): DomainNeeds {
  const devices = childElements(parseDocument(xml).root, 'devices');
  const all = (name: string) => devices.flatMap((each) => childElements(each, name));
  const bridges = all('interface')
    .filter((one) => one.getAttribute('type') === 'bridge')
    .flatMap((one) => childElements(one, 'source'))
    .map((source) => source.getAttribute('bridge') ?? '');
  const rbdImages = all('disk')
    .filter((one) => one.getAttribute('type') === 'network')
    .flatMap((one) => childElements(one, 'source'))
    .filter((source) => source.getAttribute('protocol') === 'rbd')
    .map((source) => source.getAttribute('name') ?? '');
  const lockedFiles = all('disk')
    .filter((one) => one.getAttribute('type') === 'file' && one.getAttribute('device') !== 'cdrom')
    .filter((one) => ['readonly', 'shareable'].every((mark) => childElements(one, mark).length === 0))
    .flatMap((one) => childElements(one, 'source'))
    .map((source) => source.getAttribute('file') ?? '');
  return { bridges: named(bridges), rbdImages: named(rbdImages), lockedFiles: named(lockedFiles) };
}

function named(names: readonly string[]): string[] {
  return [...new Set(names)].filter((name) => name !== '');
}
