// SPDX-License-Identifier: Apache-2.0
import { Drain, DrainState, FenceAction, FenceActionState } from '@lockstep/sdk/v1';
import { keys, nameOf } from '@lockstep/services/core/records/keys.js';
import type { DriverOp } from '@lockstep/services/platform/store/driver.js';
import type { Violations } from './violations.js';

const DRAIN_ENDS: readonly DrainState[] = [DrainState.DRAINED, DrainState.CANCELLED, DrainState.FAILED];
const FENCE_ENDS: readonly FenceActionState[] = [FenceActionState.CONFIRMED, FenceActionState.CANCELLED, FenceActionState.FAILED];
const FENCE_WAITS: readonly FenceActionState[] = [FenceActionState.HELD, FenceActionState.UNCERTAIN];

/** Drains and fence actions as they are committed: an end is one for ever, and what waits says why (INV-5). */
export class EndsChecker {
  readonly #ended = new Map<string, string>();

  constructor(private readonly violations: Violations) {}

  committed(ops: readonly DriverOp[]): void {
    for (const op of ops) {
      if (!('value' in op)) continue;
      if (op.key.startsWith(keys.fenceActions)) this.#fenceAction(nameOf(op.key), FenceAction.fromJSON(JSON.parse(op.value)));
      if (op.key.startsWith(keys.drains)) this.#drain(nameOf(op.key), Drain.fromJSON(JSON.parse(op.value)));
    }
  }

  #fenceAction(id: string, { node, state, reason, detail, proof, endTime }: FenceAction): void {
    const what = `fence action ${id.slice(-6)} of ${node}`;
    // What follows a proof is added to its record; the proof stays.
    const end = [String(state), reason, proof, endTime?.toISOString()].join(' ');
    this.#stays(what, id, end, FENCE_ENDS.includes(state));
    if (FENCE_WAITS.includes(state) && (reason === '' || detail === '')) this.violations.report('REASON', `${what} waits without a reason`);
  }

  #drain(id: string, { node, state, reason, detail, blockers, endTime }: Drain): void {
    const what = `drain ${id.slice(-6)} of ${node}`;
    this.#stays(what, id, [String(state), reason, detail, endTime?.toISOString()].join(' '), DRAIN_ENDS.includes(state));
    if (state === DrainState.BLOCKED && blockers.length === 0) this.violations.report('REASON', `${what} is blocked by nothing`);
  }

  #stays(what: string, id: string, now: string, isEnd: boolean): void {
    const end = this.#ended.get(id);
    if (end !== undefined && end !== now) this.violations.report('INV-5', `${what} had ended (${end}), and says now: ${now}`);
    if (isEnd) this.#ended.set(id, now);
  }
}
