// SPDX-License-Identifier: Apache-2.0
import type { Element } from '@xmldom/xmldom';
import { childElements, type DomainDocument, invalidXml, onlyChild, parseDocument, quoted } from './document.js';

/** The namespace of what Lockstep keeps in a domain's metadata; libvirt allows one element of a namespace there. */
export const METADATA_NAMESPACE = 'https://lockstep.dev/xmlns/domain/1';
/** The prefix under which it is written. Other prefixes are read as well. */
export const METADATA_PREFIX = 'lockstep';
const EPOCH_PATH = '/domain/metadata/lockstep:vm/lockstep:placement/@epoch';

/** Placement epochs are drawn by the store as unsigned 64-bit numbers; 0 is never drawn. */
const MOST_EPOCH = 2n ** 64n;

/** The element `<lockstep:vm>` of a domain, undefined where it has none. */
export function lockstepElement(root: Element): Element | undefined {
  const metadata = onlyChild(root, 'metadata', '/domain/metadata');
  return metadata === undefined ? undefined : onlyOurs(metadata, 'vm');
}

/** The one child of that name in Lockstep's namespace. */
export function onlyOurs(parent: Element, name: string): Element | undefined {
  const found = childElements(parent).filter(
    (child) => child.localName === name && child.namespaceURI === METADATA_NAMESPACE,
  );
  if (found.length > 1) {
    throw invalidXml(`/domain/metadata//lockstep:${name}`, `${String(found.length)} elements`, 'one');
  }
  return found[0];
}

/** The placement epoch that a domain carries. Throws INVALID_DOMAIN_XML where it is not a number. */
export function readPlacementEpoch(root: Element): bigint | undefined {
  const vm = lockstepElement(root);
  const text = vm === undefined ? undefined : onlyOurs(vm, 'placement')?.getAttribute('epoch');
  if (text === undefined || text === null) return undefined;
  const epoch = /^\d{1,20}$/.test(text) ? BigInt(text) : 0n;
  if (epoch < 1n || epoch >= MOST_EPOCH) throw invalidXml(EPOCH_PATH, quoted(text), 'a whole number from 1 to 2^64-1');
  return epoch;
}

/** The definition with this placement epoch in its metadata; everything else is kept to the byte. */
export function withPlacementEpoch(xml: string, placementEpoch: bigint): string {
  const document = parseDocument(xml);
  const metadata = onlyChild(document.root, 'metadata', '/domain/metadata');
  if (metadata === undefined) {
    return insertInto(document, document.root, `<metadata>${freshElement(placementEpoch)}</metadata>`);
  }
  const vm = lockstepElement(document.root);
  if (vm === undefined) return insertInto(document, metadata, freshElement(placementEpoch));
  const placement = onlyOurs(vm, 'placement');
  const name = vm.prefix === null || vm.prefix === '' ? 'placement' : `${vm.prefix}:placement`;
  const written = `<${name} epoch="${String(placementEpoch)}"/>`;
  return placement === undefined
    ? insertInto(document, vm, written)
    : replaceElement(document, placement, written);
}

/** The definition with this UUID; everything else is kept to the byte. */
export function withUuid(xml: string, uuid: string): string {
  const document = parseDocument(xml);
  const present = onlyChild(document.root, 'uuid', '/domain/uuid');
  const written = `<uuid>${uuid}</uuid>`;
  return present === undefined
    ? insertInto(document, document.root, written)
    : replaceElement(document, present, written);
}

/**
 * The content for libvirt's "set metadata": `<vm>` with this placement epoch and whatever else Lockstep keeps there,
 * without prefixes, as libvirt adds the namespace itself.
 */
export function metadataFragment(xml: string, placementEpoch: bigint): string {
  const stamped = parseDocument(withPlacementEpoch(xml, placementEpoch));
  const vm = lockstepElement(stamped.root);
  if (vm === undefined) throw new Error('metadataFragment: the epoch was not written');
  return bare(vm);
}

function freshElement(placementEpoch: bigint): string {
  const open = `<${METADATA_PREFIX}:vm xmlns:${METADATA_PREFIX}="${METADATA_NAMESPACE}">`;
  const placement = `<${METADATA_PREFIX}:placement epoch="${String(placementEpoch)}"/>`;
  return `${open}${placement}</${METADATA_PREFIX}:vm>`;
}

function insertInto({ text, spanOf }: DomainDocument, parent: Element, markup: string): string {
  const span = spanOf(parent);
  if (!span.selfClosing) return text.slice(0, span.contentStart) + markup + text.slice(span.contentStart);
  const startTag = text.slice(span.start, span.end).replace(/\/>$/, '>');
  return `${text.slice(0, span.start)}${startTag}${markup}</${span.tagName}>${text.slice(span.end)}`;
}

function replaceElement({ text, spanOf }: DomainDocument, element: Element, markup: string): string {
  const span = spanOf(element);
  return text.slice(0, span.start) + markup + text.slice(span.end);
}

/** An element of ours without prefixes; elements of others have no place inside it and are left out. */
function bare(element: Element): string {
  const name = element.localName ?? element.tagName;
  const attributes = Array.from(element.attributes)
    .filter((attribute) => attribute.namespaceURI === null)
    .map((attribute) => ` ${attribute.name}="${escapeAttribute(attribute.value)}"`)
    .join('');
  const children = childElements(element)
    .filter((child) => child.namespaceURI === METADATA_NAMESPACE)
    .map(bare)
    .join('');
  return children === '' ? `<${name}${attributes}/>` : `<${name}${attributes}>${children}</${name}>`;
}

function escapeAttribute(value: string): string {
  return value.replace(/[&<"\t\n\r]/g, (character) => `&#${String(character.charCodeAt(0))};`);
}
