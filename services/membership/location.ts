// SPDX-License-Identifier: Apache-2.0
import type { LeaderLocation } from '../platform/rpc/forward.js';
import type { LeaderView } from './leadership.js';

/** Where a replica forwards what only the leader can answer. */
export function locationOf(view: LeaderView): LeaderLocation {
  switch (view.kind) {
    case 'self':
      return { self: true };
    case 'other':
      return { address: view.address };
    case 'none':
      return view.trouble === undefined ? undefined : { trouble: view.trouble };
  }
}
