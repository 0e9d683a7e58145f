// SPDX-License-Identifier: Apache-2.0
import { DOMParser, type Element } from '@xmldom/xmldom';
import { LockstepError } from '../errors/catalogue.js';
import { elementSpans, type ElementSpan } from './spans.js';

/** Where the domain XML stands in requests; errors name the element behind it. */
const FIELD = 'spec.domain_xml';

/** Domain XML above this is refused: it must fit a record of the store. */
export const MAX_DOMAIN_XML_BYTES = 256 * 1024;

/** libxml2, with which libvirt reads it, gives up at the same depth. */
const MAX_DEPTH = 256;

/** Far above any real domain; it bounds what a hostile document costs. */
const MAX_ATTRIBUTES_PER_ELEMENT = 64;

/** A well-formed domain document: its tree, its text, and where each element of the tree stands in the text. */
export interface DomainDocument {
  readonly text: string;
  readonly root: Element;
  /** The place of an element of this document in its text. */
  readonly spanOf: (element: Element) => ElementSpan;
}

/** The domain XML is wrong at `path`, e.g. `/domain/name`. */
export function invalidXml(path: string, got: string, want: string, options?: ErrorOptions): LockstepError {
  const field = `${FIELD}:${path}`;
  return new LockstepError('INVALID_DOMAIN_XML', `${field}: got ${got}, want ${want}`, { field, got, want }, options);
}

/** Quotes foreign text for an error, shortened. */
export function quoted(text: string): string {
  const limit = 60;
  return JSON.stringify(text.length > limit ? `${text.slice(0, limit)}…` : text);
}

/** A definition is asked several things in one order, and the same one again and again: the last few are kept. */
const MOST_KEPT = 32;
const MOST_KEPT_LENGTH = 16 * 1024;
const kept = new Map<string, DomainDocument>();

/**
 * Reads a document whose root is `<domain>`. What could cost more than its size or could be read differently by
 * libvirt (document types, entities, other encodings, control characters) is refused before it is parsed; any warning
 * of the parser is a refusal. Throws INVALID_DOMAIN_XML or DOMAIN_XML_TOO_LARGE.
 */
export function parseDocument(text: string): DomainDocument {
  const known = kept.get(text);
  if (known !== undefined) return known;
  const document = readDocument(text);
  if (text.length > MOST_KEPT_LENGTH) return document;
  const [oldest] = kept.keys();
  if (oldest !== undefined && kept.size >= MOST_KEPT) kept.delete(oldest);
  kept.set(text, document);
  return document;
}

function readDocument(text: string): DomainDocument {
  checkSize(text);
  checkCharacters(text);
  const spans = elementSpans(text, { maxDepth: MAX_DEPTH, maxAttributes: MAX_ATTRIBUTES_PER_ELEMENT });
  if (typeof spans === 'string') throw invalidXml('/', spans, 'well-formed XML');
  const root = parseTree(text);
  if (root.tagName !== 'domain') throw invalidXml('/', quoted(`<${root.tagName}>`), 'the root element <domain>');
  if (root.namespaceURI !== null) throw invalidXml('/domain', `namespace ${quoted(root.namespaceURI)}`, 'none');
  return { text, root, spanOf: spanLookup(root, spans) };
}

function checkSize(text: string): void {
  // No character is less than a byte; only what passes that is worth encoding.
  const bytes = text.length > MAX_DOMAIN_XML_BYTES ? text.length : utf8Length(text);
  if (bytes <= MAX_DOMAIN_XML_BYTES) return;
  const got = `${String(bytes)} bytes`;
  const want = `at most ${String(MAX_DOMAIN_XML_BYTES)} bytes`;
  throw new LockstepError('DOMAIN_XML_TOO_LARGE', `${FIELD}: got ${got}, want ${want}`, { field: FIELD, got, want });
}

function utf8Length(text: string): number {
  let bytes = 0;
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    bytes += code < 0x80 ? 1 : code < 0x800 ? 2 : code < 0x1_0000 ? 3 : 4;
  }
  return bytes;
}

/** What XML 1.0 allows: no control characters but tab and line ends, no half surrogates, no non-characters. */
const FORBIDDEN_CHARACTER = /[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/u;
const CHARACTER_REFERENCE = /&#(?:x([0-9a-f]{1,8})|([0-9]{1,10}));/gi;
const DECLARED_ENCODING = /^\uFEFF?\s*<\?xml\s[^>]*?encoding\s*=\s*["']([^"']*)["']/;

function checkCharacters(text: string): void {
  const forbidden = FORBIDDEN_CHARACTER.exec(text);
  if (forbidden !== null) {
    const code = forbidden[0].codePointAt(0) ?? 0;
    throw invalidXml('/', `the character U+${code.toString(16).padStart(4, '0')}`, 'characters that XML allows');
  }
  for (const [reference, hex, decimal] of text.matchAll(CHARACTER_REFERENCE)) {
    const code = hex === undefined ? Number.parseInt(decimal ?? '', 10) : Number.parseInt(hex, 16);
    if (code > 0x10_ffff || FORBIDDEN_CHARACTER.test(String.fromCodePoint(code))) {
      throw invalidXml('/', reference, 'characters that XML allows');
    }
  }
  if (/<!DOCTYPE|<!ENTITY/i.test(text)) throw invalidXml('/', 'a document type', 'XML without DOCTYPE and entities');
  const encoding = DECLARED_ENCODING.exec(text)?.[1];
  if (encoding !== undefined && encoding.toLowerCase() !== 'utf-8') {
    throw invalidXml('/', `the encoding ${quoted(encoding)}`, 'UTF-8');
  }
}

function parseTree(text: string): Element {
  try {
    const onError = (_level: string, message: string): never => {
      throw new Error(message);
    };
    const parser = new DOMParser({ onError, locator: false });
    const root = parser.parseFromString(text, 'text/xml').documentElement;
    if (root !== null) return root;
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    throw invalidXml('/', quoted(said), 'well-formed XML', { cause: error });
  }
  throw invalidXml('/', 'no element', 'the root element <domain>');
}

function spanLookup(root: Element, spans: readonly ElementSpan[]): (element: Element) => ElementSpan {
  // Both are in document order, so the n-th element of the tree is the n-th start tag of the text.
  const places = new Map<Element, ElementSpan>();
  let next = 0;
  const pending: Element[] = [root];
  for (let element = pending.pop(); element !== undefined; element = pending.pop()) {
    const span = spans[next++];
    if (span?.tagName !== element.tagName) break;
    places.set(element, span);
    pending.push(...childElements(element).reverse());
  }
  if (next !== spans.length || places.size !== spans.length) {
    throw invalidXml('/', 'markup that can be read in two ways', 'well-formed XML');
  }
  return (element) => {
    const span = places.get(element);
    if (span === undefined) throw new Error('spanOf: the element belongs to another document');
    return span;
  };
}

/** The elements right under `parent`; with `name`, those of that name without namespace. */
export function childElements(parent: Element, name?: string): Element[] {
  const found: Element[] = [];
  for (let node = parent.firstChild; node !== null; node = node.nextSibling) {
    if (!isElement(node)) continue;
    if (name === undefined || (node.localName === name && node.namespaceURI === null)) found.push(node);
  }
  return found;
}

/** The one element of that name under `parent`, undefined where there is none; two are a refusal. */
export function onlyChild(parent: Element, name: string, path: string): Element | undefined {
  const found = childElements(parent, name);
  if (found.length > 1) throw invalidXml(path, `${String(found.length)} elements`, 'one');
  return found[0];
}

function isElement(node: { nodeType: number }): node is Element {
  return node.nodeType === 1;
}
