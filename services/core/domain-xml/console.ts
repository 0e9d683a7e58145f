// SPDX-License-Identifier: Apache-2.0
import type { Element } from '@xmldom/xmldom';
import { childElements, parseDocument } from './document.js';

/** Where a guest's console can be read: a file that grows, or a terminal that keeps nothing of the past. */
export interface ConsolePlace {
  kind: 'file' | 'pty';
  path: string;
}

/**
 * Where a running domain's first console goes; a file is preferred, as it has a past. Undefined: it has none that can be
 * read. Throws INVALID_DOMAIN_XML or DOMAIN_XML_TOO_LARGE.
 */
export function consoleOf(liveXml: string): ConsolePlace | undefined {
  const devices = childElements(parseDocument(liveXml).root, 'devices');
  const ports = ['serial', 'console'].flatMap((name) => devices.flatMap((each) => childElements(each, name)));
  const places = ports.flatMap((port) => placesOf(port));
  return places.find(({ kind }) => kind === 'file') ?? places[0];
}

function placesOf(port: Element): ConsolePlace[] {
  const of = (element: string, attribute: string): string =>
    childElements(port, element)[0]?.getAttribute(attribute) ?? '';
  const type = port.getAttribute('type');
  const candidates: ConsolePlace[] = [
    { kind: 'file', path: of('log', 'file') },
    ...(type === 'file' ? [{ kind: 'file' as const, path: of('source', 'path') }] : []),
    ...(type === 'pty' ? [{ kind: 'pty' as const, path: port.getAttribute('tty') ?? of('source', 'path') }] : []),
  ];
  return candidates.filter(({ path }) => path.startsWith('/'));
}
