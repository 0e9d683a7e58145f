// SPDX-License-Identifier: Apache-2.0
import { EventSeverity, Fenceability } from '@lockstep/sdk/v1';
import { subjects } from '../../membership/events.js';
import type { Leading } from '../term.js';
import { fenceabilityOf } from './view.js';

/**
 * Tells as an event when a node can no longer be powered off, and when it can again. A node that was not checked yet, as
 * after its agent's start, counts as before.
 */
export function tellFenceability({ nodes, events, term }: Pick<Leading, 'nodes' | 'events' | 'term'>): void {
  const known = new Map<string, Fenceability>();
  const look = (): void => {
    for (const view of nodes.nodes()) {
      const { name } = view;
      const { fenceability, fenceabilityDetail } = fenceabilityOf(view);
      if (fenceability !== Fenceability.FENCEABLE && fenceability !== Fenceability.NOT_FENCEABLE) continue;
      const before = known.get(name);
      known.set(name, fenceability);
      // What a new leader meets first is no change.
      if (before === undefined || before === fenceability) continue;
      const isWell = fenceability === Fenceability.FENCEABLE;
      void events.emit({
        severity: isWell ? EventSeverity.INFO : EventSeverity.WARNING,
        reason: 'FENCEABILITY_CHANGED',
        message: isWell ? `${name} can be powered off again` : `fencing ${name} would fail: ${fenceabilityDetail}`,
        subject: subjects.node(name),
        actor: name,
      });
    }
  };
  const end = nodes.onChange(look);
  term.ended.addEventListener('abort', end, { once: true });
  look();
}
