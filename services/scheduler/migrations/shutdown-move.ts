// SPDX-License-Identifier: Apache-2.0
import {
  MigrationMode,
  MigrationRole,
  MigrationState,
  MigrationStep,
  VmDesired,
  type Migration,
  type MigrationOutcome,
} from '@lockstep/sdk/v1';
import { durationOf } from '../../core/duration.js';
import { LockstepError } from '../../core/errors/catalogue.js';
import { isTerminal } from '../../core/migration/transitions.js';
import { shutdownLimitMs } from '../../core/shutdown-limit.js';
import { Cancelled } from '../../platform/clock/clock.js';
import { obstacleOf } from '../nodes/obstacle.js';
import type { Proof } from '../recovery/proof.js';
import { causeOf, type Attempt } from './attempt.js';
import type { JournalChange, OpenMigration } from './journal.js';
import { homeAfter, NO_OUTCOME, queuedFor, unlocked } from './lockstep.js';
import { HostOff, StartFailed, untilItHolds, waitsFor } from './shutdown-start.js';

/** Beyond the guest's own limit: the forced end, and giving up. */
const STOP_GRACE_MS = 90_000;
const GIVE_UP_DEADLINE_MS = 60_000;

const { SOURCE, TARGET } = MigrationRole;

/**
 * A move by shutdown. To stop on the source is to give up there, durably; only then a fresh placement epoch goes to the
 * target, and the way back to the source leads only over the target's having given up (INV-1, INV-3). Each deed is
 * journalled before it is done and may be repeated, so whatever throws here goes on from the record.
 */
export async function runShutdownMove(attempt: Attempt): Promise<void> {
  await openShutdownMove(attempt);
  await continueShutdownMove(attempt);
}

/** From SHUTTING_DOWN or STARTING to the close; also where a later leader, or a live attempt that was undone, goes on. */
export async function continueShutdownMove(attempt: Attempt): Promise<void> {
  try {
    if (attempt.open().migration.record.state === MigrationState.SHUTTING_DOWN) await leaveSource(attempt);
    if (isTerminal(attempt.open().migration.record.state)) return;
    if (placedAt(attempt.open()) === TARGET) await startOnTarget(attempt);
    else await startAgainOnSource(attempt);
  } catch (error) {
    await waitsFor(attempt, error);
    throw error;
  }
}

/** Locks the VM. From here on the guest is told to shut down, which cannot be called off. */
async function openShutdownMove(attempt: Attempt): Promise<void> {
  const { env } = attempt.leading;
  const obstacle = obstacleAtTarget(attempt);
  if (obstacle !== undefined) throw new LockstepError('NODE_NOT_READY', obstacle);
  await attempt.journal.write(attempt.id, ({ migration: { record }, vm }) => {
    const { placement } = vm.record;
    if (attempt.cancelRequested || record.cancelRequested) throw new Cancelled('migration', undefined);
    if (placement?.node !== record.sourceNode || placement.migrationId !== '') {
      throw new LockstepError('VM_LOCKED', `${vm.record.name} is not free on ${record.sourceNode} any more`);
    }
    return {
      migration: {
        ...beginsShutdown(placement.epoch),
        sourceIncarnation: attempt.agent(SOURCE).incarnation,
        targetIncarnation: attempt.agent(TARGET).incarnation,
        outcome: { ...NO_OUTCOME, queued: queuedFor(record.createTime, env.clock.wallTime()) },
      },
      vm: { placement: { ...placement, migrationId: attempt.id } },
    };
  });
  attempt.startedAtMs = env.clock.nowMs();
}

/** What the journal says when the guest is to be shut down, of a move that began so or that fell back to it. */
export function beginsShutdown(sourcePlacementEpoch: bigint): Partial<Migration> {
  return {
    state: MigrationState.SHUTTING_DOWN,
    modeUsed: MigrationMode.SHUTDOWN,
    waitingReason: '',
    sourcePlacementEpoch,
  };
}

/** Why the target cannot take the VM at this moment; undefined: it can. */
export function obstacleAtTarget(attempt: Attempt): string | undefined {
  const { targetNode } = attempt.open().migration.record;
  const view = attempt.leading.nodes.node(targetNode);
  const obstacle = view === undefined ? 'it is gone' : obstacleOf(attempt.leading, view);
  return obstacle === undefined ? undefined : `${targetNode}: ${obstacle}`;
}

/** The guest shuts down within its limit or is forced, and the source gives it up: one order, which may be repeated. */
async function leaveSource(attempt: Attempt): Promise<void> {
  const { term } = attempt.leading;
  const off = attempt.offProof(SOURCE);
  if (off !== undefined) {
    await leaveDeadSource(attempt, off);
    return;
  }
  try {
    await attempt.step(
      MigrationStep.STOP_SOURCE,
      SOURCE,
      async () => {
        const { client, header } = attempt.agent(SOURCE);
        const limitMs = shutdownLimitMs(attempt.open().vm.record.spec);
        return await client.stopVm(
          { header, order: attempt.order(SOURCE), shutdownLimit: durationOf(limitMs) },
          { deadlineMs: limitMs + STOP_GRACE_MS, signal: term.ended },
        );
      },
      ({ forced }) => (forced ? 'did not shut down within its limit and was forced' : 'it stands and was given up'),
    );
  } catch (error) {
    const cause = causeOf(error);
    if (cause.reason !== 'DOMAIN_NOT_OURS') throw error;
    await leaveAsItIs(attempt, cause);
    return;
  }
  // Nobody has told the target anything yet, so a target that went away meanwhile need not give up first.
  const obstacle = obstacleAtTarget(attempt);
  if (obstacle === undefined) await rehome(attempt, TARGET);
  else await rehome(attempt, SOURCE, { why: { reason: 'NODE_NOT_READY', detail: obstacle } });
}

/** What stands there is not the cluster's, so nothing was done to it and nothing will be: a person has to adopt it first. */
async function leaveAsItIs(attempt: Attempt, { reason, detail }: { reason: string; detail: string }): Promise<void> {
  await close(attempt, ({ migration: { record }, vm }) => ({
    migration: { state: MigrationState.FAILED, reason, detail: `it stays on ${record.sourceNode} as it is: ${detail}` },
    vm: unlocked(vm.record.placement),
  }));
  attempt.log.error(attempt.open().migration.record.detail);
}

/** The guest is gone with its host, so the target gets it, if it takes VMs; otherwise the recovery finds it a node. */
async function leaveDeadSource(attempt: Attempt, off: Proof): Promise<void> {
  const obstacle = obstacleAtTarget(attempt);
  if (obstacle === undefined) await rehome(attempt, TARGET, { off });
  else await leaveToRecovery(attempt, off, `not started on the target: ${obstacle}`);
}

/** Ends with the VM placed on a host that is proven off: the recovery of that host takes it from there. */
async function leaveToRecovery(attempt: Attempt, off: Proof, why: string): Promise<void> {
  await close(attempt, ({ migration: { record }, vm }) => {
    const { placement } = vm.record;
    if (placement === undefined) throw new LockstepError('INTERNAL', `${vm.record.name} has no placement`);
    const epoch = placement.lastEpoch + 1n;
    const earlier = record.detail === '' ? '' : `${record.detail}; `;
    return {
      migration: {
        state: MigrationState.FAILED,
        reason: 'HOST_OFF',
        detail: `${earlier}${why}; ${off.node} is proven off, and the VM is recovered elsewhere`,
      },
      vm: { placement: { ...placement, node: off.node, epoch, lastEpoch: epoch, migrationId: '' } },
      holds: [off.holds],
    };
  });
  attempt.log.error(attempt.open().migration.record.detail);
}

async function startOnTarget(attempt: Attempt): Promise<void> {
  try {
    await start(attempt, TARGET);
  } catch (error) {
    if (error instanceof HostOff) {
      await rehome(attempt, SOURCE, { off: error.proof, why: { reason: 'HOST_OFF', detail: 'it is proven off' } });
      await startAgainOnSource(attempt);
      return;
    }
    if (!(error instanceof StartFailed)) throw error;
    await giveUpTarget(attempt);
    await rehome(attempt, SOURCE, { why: error });
    await startAgainOnSource(attempt);
    return;
  }
  await close(attempt, (open) => {
    const { record } = open.migration;
    const { detail } = record;
    const arrived = `${whereItIs(open, record.targetNode)}, moved by shutdown`;
    return {
      migration: {
        state: MigrationState.SUCCEEDED,
        reason: '',
        detail: detail === '' ? arrived : `${arrived}; ${detail}`,
        outcome: totalOf(attempt, record),
      },
      vm: { ...homeAfter(record), ...unlocked(open.vm.record.placement) },
    };
  });
  attempt.log.ok(attempt.open().migration.record.detail);
}

/** The way back: nothing runs anywhere, and the target has given up. From here the assignment to the source goes on. */
async function startAgainOnSource(attempt: Attempt): Promise<void> {
  const failure = await start(attempt, SOURCE).then(
    () => undefined,
    (error: unknown) => {
      if (error instanceof StartFailed || error instanceof HostOff) return error;
      throw error;
    },
  );
  if (failure instanceof HostOff) {
    await leaveToRecovery(attempt, failure.proof, `not started on ${failure.proof.node} either`);
    return;
  }
  await close(attempt, (open) => {
    const { detail, sourceNode } = open.migration.record;
    const outcome =
      failure === undefined
        ? `${whereItIs(open, sourceNode)} again`
        : `${sourceNode}, to which it went back, has not started it yet: ${failure.detail}`;
    return {
      migration: { state: MigrationState.FAILED, detail: `${detail}; ${outcome}` },
      vm: unlocked(open.vm.record.placement),
    };
  });
  attempt.log.error(attempt.open().migration.record.detail);
}

async function start(attempt: Attempt, role: MigrationRole): Promise<void> {
  await attempt.step(
    MigrationStep.START_TARGET,
    role,
    () => untilItHolds(attempt, role),
    (seen) => seen,
  );
}

/** An end that answers VM_RUNNING has started it after all, which the next round sees. */
async function giveUpTarget(attempt: Attempt): Promise<void> {
  await attempt.step(MigrationStep.ABORT_TARGET, TARGET, async () => {
    const { client, header } = attempt.agent(TARGET);
    await client.giveUp(
      { header, order: attempt.order(TARGET) },
      { deadlineMs: GIVE_UP_DEADLINE_MS, signal: attempt.leading.term.ended },
    );
  });
}

/**
 * The right to run goes to one end under a fresh placement epoch, before that end is told anything. `off`: the other end
 * has not given up, as its host is proven off.
 */
async function rehome(
  attempt: Attempt,
  role: MigrationRole,
  { why, off }: { why?: { reason: string; detail: string }; off?: Proof } = {},
): Promise<void> {
  await attempt.step(MigrationStep.PLACE, MigrationRole.UNSPECIFIED, async () => {
    await attempt.journal.write(attempt.id, ({ migration: { record }, vm }) => {
      const { placement } = vm.record;
      if (placement === undefined) throw new LockstepError('INTERNAL', `${vm.record.name} has no placement`);
      const epoch = placement.lastEpoch + 1n;
      const node = role === TARGET ? record.targetNode : record.sourceNode;
      const earlier = record.detail === '' ? '' : `${record.detail}; `;
      return {
        migration: {
          state: MigrationState.STARTING,
          waitingReason: '',
          placementEpoch: epoch,
          phases: attempt.phases,
          ...(why === undefined ? {} : { reason: why.reason, detail: `${earlier}not started on ${record.targetNode}: ${why.detail}` }),
        },
        vm: { placement: { ...placement, node, epoch, lastEpoch: epoch } },
        holds: off === undefined ? [] : [off.holds],
      };
    });
  });
}

async function close(attempt: Attempt, change: (open: OpenMigration) => JournalChange): Promise<void> {
  await attempt.journal.write(attempt.id, (open) => {
    const { migration, ...rest } = change(open);
    return { migration: { phases: attempt.phases, ...migration }, ...rest };
  });
}

/**
 * The two records are followed apart: after a write whose outcome nobody told, one of them may be known as it was before.
 * Whoever went by that would start a second copy, under the epoch of the first.
 */
function placedAt({ migration, vm }: OpenMigration): MigrationRole {
  if (vm.record.placement?.epoch !== migration.record.placementEpoch) {
    throw new LockstepError('STORE_CONFLICT', `where ${vm.record.name} was placed is not known yet`, { vm: vm.record.name });
  }
  return vm.record.placement.node === migration.record.targetNode ? TARGET : SOURCE;
}

function whereItIs({ vm }: OpenMigration, node: string): string {
  return `${vm.record.name} ${vm.record.desired === VmDesired.RUNNING ? 'runs' : 'stays stopped'} on ${node}`;
}

function totalOf({ startedAtMs, leading }: Attempt, { outcome }: Migration): MigrationOutcome {
  const total = startedAtMs === undefined ? undefined : durationOf(leading.env.clock.nowMs() - startedAtMs);
  return { ...NO_OUTCOME, ...outcome, total };
}
