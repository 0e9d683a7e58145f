// SPDX-License-Identifier: Apache-2.0
import type { Element } from '@xmldom/xmldom';
import { childElements, onlyChild } from './document.js';
import { scaled } from './memory-size.js';
import type { NumaCell } from './numa-cells.js';

/** Memory that a guest takes from its host's huge pages. */
export interface HugepageMemory {
  /** 0: the size that the host uses where none is named. */
  pageBytes: bigint;
  bytes: bigint;
}

/** A page of this size is named by who wants none that is huge. */
const ORDINARY_PAGE_BYTES = 4_096n;

interface Page {
  pageBytes: bigint;
  /** Undefined: all cells that no other page names. */
  nodeset: string | undefined;
}

/**
 * What of a guest's memory comes from huge pages (`memoryBacking/hugepages`). A page with a `nodeset` backs these cells of
 * the guest, one without backs all others and what may be plugged in later; cells that no page is for have ordinary memory.
 */
export function hugepagesOf(root: Element, memoryBytes: bigint, cells: readonly NumaCell[]): HugepageMemory[] {
  const path = '/domain/memoryBacking';
  const backing = onlyChild(root, 'memoryBacking', path);
  const hugepages = backing === undefined ? undefined : onlyChild(backing, 'hugepages', `${path}/hugepages`);
  if (hugepages === undefined) return [];
  const given = childElements(hugepages, 'page').map((page): Page => ({
    pageBytes: scaled(page.getAttribute('size') ?? '', page.getAttribute('unit'), `${path}/hugepages/page/@size`),
    nodeset: page.getAttribute('nodeset') ?? undefined,
  }));
  const pages = given.length === 0 ? [{ pageBytes: 0n, nodeset: undefined }] : given;
  const general = pages.find(({ nodeset }) => nodeset === undefined);
  const ofCells = cells.reduce((sum, { bytes }) => sum + bytes, 0n);
  const parts = [
    ...(cells.length === 0 ? [{ id: 0, bytes: memoryBytes }] : cells).map(({ id, bytes }) => ({
      bytes,
      page: pages.find(({ nodeset }) => nodeset !== undefined && isInNodeset(nodeset, id)) ?? general,
    })),
    ...(cells.length > 0 && memoryBytes > ofCells ? [{ bytes: memoryBytes - ofCells, page: general }] : []),
  ];
  const sums = new Map<bigint, bigint>();
  for (const { bytes, page } of parts) {
    if (page === undefined || page.pageBytes === ORDINARY_PAGE_BYTES) continue;
    sums.set(page.pageBytes, (sums.get(page.pageBytes) ?? 0n) + inWholePages(bytes, page.pageBytes));
  }
  return [...sums].map(([pageBytes, bytes]) => ({ pageBytes, bytes }));
}

function inWholePages(bytes: bigint, pageBytes: bigint): bigint {
  return pageBytes === 0n ? bytes : ((bytes + pageBytes - 1n) / pageBytes) * pageBytes;
}

/** As libvirt writes sets: "0-3,5,^2". */
function isInNodeset(nodeset: string, id: number): boolean {
  const parts = nodeset.split(',').map((part) => /^\s*(\^?)(\d+)(?:-(\d+))?\s*$/.exec(part));
  const covers = (part: RegExpExecArray | null): boolean => {
    const first = Number(part?.[2] ?? Number.NaN);
    return first <= id && id <= Number(part?.[3] ?? first);
  };
  const named = parts.filter(covers);
  return named.length > 0 && named.every((part) => part?.[1] !== '^');
}
