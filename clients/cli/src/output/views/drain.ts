// SPDX-License-Identifier: Apache-2.0
import { Drain, DrainState, type DrainBlocker } from '@lockstep/sdk/v1';
import type { View } from '../print.js';
import { renderFacts, type Column } from '../table.js';
import { formatAge } from '../units.js';
import { colourOfState, wordOf } from '../words.js';

export const drainState = (drain: Drain): string => wordOf(DrainState, drain.state);

const columns = (nowMs: number): readonly Column<Drain>[] => [
  { header: 'ID', text: (drain) => drain.id },
  { header: 'NODE', text: (drain) => drain.node },
  { header: 'STATE', text: drainState, colour: (drain) => colourOfState(drainState(drain)) },
  { header: 'MOVES', text: (drain) => String(drain.migrationIds.length), align: 'right' },
  { header: 'BLOCKED', text: (drain) => String(drain.blockers.length), align: 'right' },
  { header: 'AGE', text: (drain) => formatAge(drain.createTime, nowMs), align: 'right' },
  { header: 'DETAIL', text: (drain) => drain.detail, wide: true, shrinks: true },
];

const blockerColumns: readonly Column<DrainBlocker>[] = [
  { header: 'VM', text: (blocker) => blocker.vmId },
  { header: 'REASON', text: (blocker) => blocker.reason, colour: () => 'red' },
  { header: 'DETAIL', text: (blocker) => blocker.detail, shrinks: true },
];

/** A drain, and what holds it up. */
export const drainView: View<Drain> = {
  columns,
  name: (drain) => drain.id,
  toJson: (drain) => Drain.toJSON(drain),
  details: (drain, page) => {
    const facts = renderFacts(
      [
        ['Drain', drain.id],
        ['Node', drain.node],
        ['State', drainState(drain), colourOfState(drainState(drain))],
        ['Reason', drain.reason],
        ['Detail', drain.detail],
        ['Moves', String(drain.migrationIds.length)],
        ['Asked for', `${formatAge(drain.createTime, page.nowMs)} ago`],
      ],
      page.paint,
    );
    return drain.blockers.length === 0 ? facts : [facts, page.table(blockerColumns, drain.blockers)].join('\n');
  },
};
