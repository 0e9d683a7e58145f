// SPDX-License-Identifier: Apache-2.0
import {
  MigrationMode,
  MigrationRole,
  MigrationState,
  MigrationStep,
  VmDesired,
  type Migration,
  type PrepareRequest,
  type PrepareResponse,
} from '@lockstep/sdk/v1';
import { isReason, LockstepError } from '../../core/errors/catalogue.js';
import { Cancelled, sleep } from '../../platform/clock/clock.js';
import { durationOf } from '../../core/duration.js';
import { causeOf, type Attempt } from './attempt.js';
import { forecastOf, worthMeasuring } from './forecasting.js';
import { transferLimits } from './limits.js';
import { transfer } from './transfer.js';

const PREPARE_DEADLINE_MS = 60_000;
/** Where the agent could not be reached. */
const AGAIN = { tries: 3, afterMs: 1_000 };
const COMMIT_DEADLINE_MS = 60_000;
/** Confirm waits for the old QEMU process to end, which takes about two seconds on a healthy host. */
const LET_GO_DEADLINE_MS = 90_000;
/** With post-copy both last until all memory has been fetched. */
const POST_COPY_DEADLINE_MS = 60 * 60_000;

const { SOURCE, TARGET } = MigrationRole;

/**
 * A live migration as it goes when nothing fails. Each step begins when its peer's step is confirmed. Whatever throws
 * here is settled by `settle`, the one failure path; this story undoes nothing itself.
 */
export async function runLockstep(attempt: Attempt): Promise<void> {
  await openAttempt(attempt);
  const source = await prepareSource(attempt);
  const target = await prepareTarget(attempt, source);
  await beginTransfer(attempt);
  await transfer(attempt, { cookie: target.cookie, migrationUri: target.migrationUri, attachOnly: false });
  await completeLockstep(attempt);
}

/** The second half, from the source's word on; also where a later leader or a repeated Commit goes on. */
export async function completeLockstep(attempt: Attempt): Promise<void> {
  await commitTarget(attempt);
  await place(attempt);
  await commitSource(attempt);
}

/** Draws the placement epoch and locks the VM: from here on the target belongs to the may-run set. */
async function openAttempt(attempt: Attempt): Promise<void> {
  const { leading, id } = attempt;
  const incarnations = {
    sourceIncarnation: attempt.agent(SOURCE).incarnation,
    targetIncarnation: attempt.agent(TARGET).incarnation,
  };
  await attempt.journal.write(id, ({ migration, vm }) => {
    const { placement } = vm.record;
    if (placement?.node !== migration.record.sourceNode || placement.migrationId !== '') {
      throw new LockstepError('VM_LOCKED', `${vm.record.name} is not free on ${migration.record.sourceNode} any more`);
    }
    if (vm.record.desired !== VmDesired.RUNNING) {
      throw new LockstepError('VM_NOT_RUNNING', `${vm.record.name} is to be stopped`, { vm: vm.record.name });
    }
    const epoch = placement.lastEpoch + 1n;
    return {
      migration: {
        ...incarnations,
        state: MigrationState.PREPARING,
        modeUsed: MigrationMode.LIVE_ONLY,
        waitingReason: '',
        placementEpoch: epoch,
        sourcePlacementEpoch: placement.epoch,
        outcome: { ...NO_OUTCOME, queued: queuedFor(migration.record.createTime, leading.env.clock.wallTime()) },
      },
      vm: { placement: { ...placement, lastEpoch: epoch, migrationId: id } },
    };
  });
  attempt.outcome = { ...attempt.open().migration.record.outcome };
  attempt.startedAtMs = leading.env.clock.nowMs();
}

async function prepareSource(attempt: Attempt): Promise<PrepareResponse> {
  return await attempt.step(MigrationStep.PREPARE_SOURCE, SOURCE, () =>
    askForVote(attempt, SOURCE, { measureDirtyRate: worthMeasuring(attempt) }),
  );
}

async function prepareTarget(attempt: Attempt, source: PrepareResponse): Promise<PrepareResponse> {
  const { cookie, domainXml, persistentXml, paused } = source;
  const vote = await attempt.step(
    MigrationStep.PREPARE_TARGET,
    TARGET,
    () => askForVote(attempt, TARGET, { cookie, domainXml, persistentXml, paused, spec: attempt.open().vm.record.spec }),
    ({ migrationUri }) => `listens at ${migrationUri}`,
  );
  const forecast = forecastOf(attempt, source);
  await attempt.journal.write(attempt.id, () => ({
    migration: { state: MigrationState.PREPARED, phases: attempt.phases, forecast },
  }));
  return vote;
}

/** Opening the transfer authorises Commit(target) on the source's own word, so nothing is written in the gap. */
async function beginTransfer(attempt: Attempt): Promise<void> {
  stopIfCancelled(attempt);
  await attempt.journal.write(attempt.id, () => ({ migration: { state: MigrationState.TRANSFERRING } }));
}

/** The commit point. From the source's word to the sending of this order the guest stands still: nothing waits here. */
async function commitTarget(attempt: Attempt): Promise<void> {
  const { client, header } = attempt.agent(TARGET);
  stopIfCancelled(attempt);
  attempt.commit = 'sent';
  const { clock } = attempt.leading.env;
  const gapMs = attempt.endHeardAtMs === undefined ? undefined : clock.nowMs() - attempt.endHeardAtMs;
  const answer = await attempt.step(
    MigrationStep.COMMIT_TARGET,
    TARGET,
    () =>
      client.commit(
        { header, order: attempt.order(TARGET), role: TARGET, cookie: attempt.endCookie, postCopy: attempt.postCopy },
        // Once sent, this order is waited for; with post-copy no longer than both hosts have power.
        attempt.postCopy
          ? { deadlineMs: POST_COPY_DEADLINE_MS, signal: attempt.interrupted.signal }
          : { deadlineMs: COMMIT_DEADLINE_MS },
      ),
    () => 'the guest runs here',
  );
  attempt.commit = 'done';
  attempt.commitCookie = answer.cookie;
  attempt.outcome = {
    ...attempt.outcome,
    ...(gapMs === undefined ? {} : { gap: durationOf(gapMs) }),
    ...(attempt.startedAtMs === undefined ? {} : { total: durationOf(clock.nowMs() - attempt.startedAtMs) }),
    ...(answer.outcome === undefined
      ? {}
      : {
          downtime: answer.outcome.downtime,
          memorySentBytes: answer.outcome.memorySentBytes,
          iterations: answer.outcome.iterations,
        }),
  };
}

/** The right to run goes to the target, in one transaction with the journal. */
export async function place(attempt: Attempt): Promise<void> {
  await attempt.step(MigrationStep.PLACE, MigrationRole.UNSPECIFIED, async () => {
    await attempt.journal.write(attempt.id, ({ migration, vm }) => {
      const { placement } = vm.record;
      if (placement === undefined) throw new LockstepError('INTERNAL', `${vm.record.name} has no placement`);
      const { targetNode, placementEpoch } = migration.record;
      return {
        migration: {
          state: MigrationState.COMMITTING,
          phases: attempt.phases,
          transferEndHeard: attempt.endHeard || migration.record.transferEndHeard,
          outcome: { ...NO_OUTCOME, ...attempt.outcome },
        },
        vm: { ...homeAfter(migration.record), placement: { ...placement, node: targetNode, epoch: placementEpoch } },
      };
    });
  });
}

/** The old copy goes, and the record closes. */
export async function commitSource(attempt: Attempt): Promise<void> {
  await attempt.step(
    MigrationStep.COMMIT_SOURCE,
    SOURCE,
    async () => {
      const { client, header } = attempt.agent(SOURCE);
      await client.commit(
        { header, order: attempt.order(SOURCE), role: SOURCE, cookie: attempt.commitCookie, postCopy: attempt.postCopy },
        { deadlineMs: attempt.postCopy ? POST_COPY_DEADLINE_MS : LET_GO_DEADLINE_MS, signal: attempt.leading.term.ended },
      );
    },
    () => 'the old copy is gone',
  );
  await attempt.journal.write(attempt.id, ({ migration, vm }) => ({
    migration: {
      state: MigrationState.SUCCEEDED,
      phases: attempt.phases,
      reason: '',
      detail: `${vm.record.name} runs on ${migration.record.targetNode}`,
    },
    vm: unlocked(vm.record.placement),
  }));
  attempt.log.ok(`moved to ${attempt.open().migration.record.targetNode}`);
}

/** The VM's placement without the lock that the migration held. */
export function unlocked<T extends { migrationId: string }>(placement: T | undefined): { placement?: T } {
  return placement === undefined ? {} : { placement: { ...placement, migrationId: '' } };
}

/** Where the VM belongs once it is on its target, and where it goes back to later. */
export function homeAfter({ setHome, targetNode, returnNode }: Migration): { homeNode?: string; returnNode: string } {
  return setHome ? { homeNode: targetNode, returnNode } : { returnNode };
}

export const NO_OUTCOME = {
  downtime: undefined,
  gap: undefined,
  total: undefined,
  queued: undefined,
  memorySentBytes: 0n,
  iterations: 0,
} as const;

export function queuedFor(from: Date | undefined, to: Date): { seconds: bigint; nanos: number } | undefined {
  return from === undefined ? undefined : durationOf(Math.max(0, to.getTime() - from.getTime()));
}

/**
 * A connection that broke while nobody used it is found out by the next order: that one is given again, to the same life
 * of the agent. A Prepare that is repeated finds its own vote.
 */
async function askForVote(attempt: Attempt, role: MigrationRole, what: Partial<PrepareRequest>): Promise<PrepareResponse> {
  const { client, header } = attempt.agent(role);
  for (let tries = 1; ; tries += 1) {
    const request = { ...what, header, role, order: attempt.order(role), limits: transferLimits(attempt.open()) };
    try {
      return granted(await client.prepare(request, callOf(attempt, PREPARE_DEADLINE_MS)));
    } catch (error) {
      if (tries === AGAIN.tries || causeOf(error).reason !== 'NODE_UNREACHABLE') throw error;
      attempt.log.info('Prepare is asked for again', { node: attempt.nodeOf(role), error });
      await sleep(attempt.leading.env.clock, AGAIN.afterMs, attempt.interrupted.signal);
    }
  }
}

function granted(vote: PrepareResponse): PrepareResponse {
  if (vote.granted) return vote;
  const [first] = vote.refusals;
  const detail = vote.refusals.map((refusal) => refusal.detail).join('; ');
  throw new LockstepError(first !== undefined && isReason(first.reason) ? first.reason : 'HYPERVISOR_REFUSED', detail);
}

function callOf(attempt: Attempt, deadlineMs: number): { deadlineMs: number; signal: AbortSignal } {
  stopIfCancelled(attempt);
  return { deadlineMs, signal: attempt.interrupted.signal };
}

function stopIfCancelled(attempt: Attempt): void {
  if (attempt.cancelRequested) throw new Cancelled('migration', undefined);
}
