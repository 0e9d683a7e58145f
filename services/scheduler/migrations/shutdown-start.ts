// SPDX-License-Identifier: Apache-2.0
import { VmDesired, VmState, type MigrationRole, type VmReport } from '@lockstep/sdk/v1';
import { isReason, LockstepError, type Reason } from '../../core/errors/catalogue.js';
import { isTerminal } from '../../core/migration/transitions.js';
import { pauseUntilNews, type Proof } from '../recovery/proof.js';
import { causeOf, type Attempt } from './attempt.js';

const APPLY_DEADLINE_MS = 15_000;
const LOOK_EVERY_MS = 500;
/** A hypervisor that starts nothing in this time is given up on, if it lets itself. */
const START_LIMIT_MS = 120_000;

/** The VM does not run there, and its node says so or has said nothing else for too long. */
export class StartFailed extends Error {
  constructor(
    readonly reason: Reason,
    readonly detail: string,
  ) {
    super(detail);
  }
}

/** The host it was to start on is proven off. */
export class HostOff extends Error {
  constructor(readonly proof: Proof) {
    super(`${proof.node} is proven off`);
  }
}

type Seen = { kind: 'holds'; detail: string } | { kind: 'failed' | 'not-yet'; reason: Reason; detail: string };

/**
 * Tells the node that holds the placement what the VM shall be there, until it is so. The order is repeated, not waited
 * for: each one looks as well, and an agent that restarted meanwhile is told again. Fails with StartFailed or
 * HostOff.
 */
export async function untilItHolds(attempt: Attempt, role: MigrationRole): Promise<string> {
  const { env, term } = attempt.leading;
  const node = attempt.nodeOf(role);
  const untilMs = env.clock.nowMs() + START_LIMIT_MS;
  for (;;) {
    const off = attempt.offProof(role);
    if (off !== undefined) throw new HostOff(off);
    const seen = await tellAndLook(attempt, role);
    if (seen.kind === 'holds') return seen.detail;
    if (seen.kind === 'failed' || env.clock.nowMs() >= untilMs) throw new StartFailed(seen.reason, seen.detail);
    await pauseUntilNews(attempt.leading, [node], LOOK_EVERY_MS);
    term.ended.throwIfAborted();
  }
}

async function tellAndLook(attempt: Attempt, role: MigrationRole): Promise<Seen> {
  const { desired, spec } = attempt.open().vm.record;
  const order = { ...attempt.order(role), placementEpoch: attempt.open().migration.record.placementEpoch };
  try {
    const { client, header } = attempt.agent(role);
    const { vm } = await client.applyVm(
      { header, order, desired, spec, sequence: attempt.leading.orders.nextWish() },
      { deadlineMs: APPLY_DEADLINE_MS, signal: attempt.leading.term.ended },
    );
    if (desired !== VmDesired.RUNNING) return { kind: 'holds', detail: 'it is defined here and stays stopped' };
    return judge(vm, order.placementEpoch);
  } catch (error) {
    const cause = causeOf(error);
    // This leader is none any more: nothing that it could decide counts.
    if (cause.reason === 'STALE_EPOCH' || attempt.leading.term.ended.aborted) throw error;
    // An earlier leader, or this one, had it given up here already.
    if (cause.reason === 'STALE_PLACEMENT') return { kind: 'failed', ...cause };
    await waitsFor(attempt, error);
    return { kind: 'not-yet', ...cause };
  }
}

/** What an agent's report says of a start. A state other than ERROR counts only of the copy that was ordered. */
function judge(vm: VmReport | undefined, placementEpoch: bigint): Seen {
  const { state = VmState.UNKNOWN, reason = '', detail = '' } = vm?.status ?? {};
  const cause = { reason: isReason(reason) ? reason : ('GUEST_LOST' as const), detail };
  if (state === VmState.ERROR) return { kind: 'failed', ...cause };
  if (vm?.placementEpoch !== placementEpoch) return { kind: 'not-yet', reason: 'DEADLINE', detail: 'it was not defined in time' };
  if (state === VmState.RUNNING || state === VmState.PAUSED) return { kind: 'holds', detail: 'it runs here' };
  if (state === VmState.CRASHED) return { kind: 'failed', ...cause };
  return { kind: 'not-yet', reason: 'DEADLINE', detail: 'it was not started in time' };
}

/** Says in the record what a step waits for, once; the step itself is tried again by whoever called. */
export async function waitsFor(attempt: Attempt, error: unknown): Promise<void> {
  const { reason, detail } = causeOf(error);
  const { record } = attempt.open().migration;
  const waitingReason = `${reason}: ${detail}`;
  if (isTerminal(record.state) || record.waitingReason === waitingReason) return;
  try {
    await attempt.journal.write(attempt.id, ({ migration }) => {
      // The close whose outcome was not told may have happened.
      if (isTerminal(migration.record.state)) throw new LockstepError('MIGRATION_ENDED', 'it has ended after all');
      return { migration: { waitingReason } };
    });
  } catch (failed) {
    const why = failed instanceof LockstepError ? failed.reason : String(failed);
    attempt.log.warn(`cannot note what it waits for (${why}): ${waitingReason}`);
  }
}
