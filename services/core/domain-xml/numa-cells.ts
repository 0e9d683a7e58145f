// SPDX-License-Identifier: Apache-2.0
import type { Element } from '@xmldom/xmldom';
import { childElements } from './document.js';
import { scaled } from './memory-size.js';

/** A NUMA node as the guest sees it. */
export interface NumaCell {
  id: number;
  bytes: bigint;
}

/** The guest's NUMA cells that have memory of their own; none: its memory is one piece. */
export function numaCells(root: Element): NumaCell[] {
  return childElements(root, 'cpu')
    .flatMap((cpu) => childElements(cpu, 'numa'))
    .flatMap((numa) => childElements(numa, 'cell'))
    .flatMap((cell, place) => {
      if (!cell.hasAttribute('memory')) return [];
      const bytes = scaled(cell.getAttribute('memory') ?? '', cell.getAttribute('unit'), '/domain/cpu/numa/cell/@memory');
      return [{ id: Number.parseInt(cell.getAttribute('id') ?? String(place), 10), bytes }];
    });
}
