// SPDX-License-Identifier: Apache-2.0
import {
  Migration,
  MigrationMode,
  MigrationState,
  VmState,
  type CreateMigrationRequest,
  type Vm,
} from '@lockstep/sdk/v1';
import { invalidField, LockstepError } from '../../core/errors/catalogue.js';
import { MIGRATION_PRIORITY } from '../../core/migration/priority.js';
import { isTerminal } from '../../core/migration/transitions.js';
import { migrationCodec } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import type { TxnOp } from '../../platform/store/store.js';
import { LostTransaction } from '../../membership/ledger.js';
import { checkTarget, chooseNode } from '../nodes/choose.js';
import { checkRequestId, earlierResult, noteRequest } from '../../membership/requests.js';
import { writeUntilKnown } from '../settled-write.js';
import type { Leading } from '../term.js';
import { findVm } from '../vms/find.js';
import { withStatus } from '../vms/status.js';

const MOST_OPEN = 1_000;
const MOVES_LIVE: readonly VmState[] = [VmState.RUNNING, VmState.PAUSED, VmState.MIGRATING];
const MIGRATIONS = { prefix: keys.migrations, codec: migrationCodec };

/** Queues a move, with a priority of its own where it is no person's. Everything that can be known to forbid it is refused here, and again by the agents. */
export async function createMigration(
  leading: Leading,
  request: CreateMigrationRequest,
  priority = askedPriority(request),
  /** Where the VM goes back to later. */
  returnNode = '',
): Promise<Migration> {
  checkRequestId(request.requestId);
  const earlier = await earlierResult(leading.env, request.requestId, MIGRATIONS);
  if (earlier !== undefined) return earlier;
  const migration = { ...plan(leading, request), priority, returnNode };
  if (request.validateOnly) return migration;
  // Between the look at the open migrations and the write no other move of the same VM, nor into the same room, slips in.
  leading.creating.set(migration.vmId, migration.targetNode);
  try {
    return await write(leading, request, migration);
  } finally {
    leading.creating.delete(migration.vmId);
  }
}

async function write(leading: Leading, request: CreateMigrationRequest, migration: Migration): Promise<Migration> {
  const ops: TxnOp[] = [
    { op: 'cas', key: keys.migration(migration.id), value: migrationCodec.encode(migration), index: 0n },
    ...noteRequest(request.requestId, keys.migration(migration.id)),
  ];
  try {
    const stored = await writeUntilKnown(leading, ops, {
      key: keys.migration(migration.id),
      codec: migrationCodec,
      record: migration,
      isOurs: () => true,
    });
    leading.migrations.put(migration.id, stored);
    return stored.record;
  } catch (error) {
    const repeated = error instanceof LostTransaction ? await earlierResult(leading.env, request.requestId, MIGRATIONS) : undefined;
    if (repeated === undefined) throw error;
    return repeated;
  }
}

function plan(leading: Leading, request: CreateMigrationRequest): Migration {
  const { record: vm } = findVm(leading, request.vm);
  const source = vm.placement?.node ?? '';
  refuseOpen(leading, vm);
  const mode = modeOf(request.mode);
  if (request.targetNode === source) {
    throw new LockstepError('SAME_NODE', `${vm.name} is on ${source} already`, {
      field: 'target_node',
      got: source,
      want: 'another node',
      vm: vm.name,
    });
  }
  const { status } = withStatus(leading, vm);
  if (status?.reason === 'NODE_UNREACHABLE' || status?.reason === 'HOST_OFF') {
    throw new LockstepError('NODE_UNREACHABLE', status.detail, { node: source, vm: vm.name });
  }
  if (status?.state === VmState.UNMANAGED) {
    const message = `the domain of ${vm.name} on ${source} carries no placement epoch; it is moved once it has been adopted (again)`;
    throw new LockstepError('DOMAIN_NOT_OURS', message, { vm: vm.name, node: source });
  }
  // No migration of it is open: a node that says MIGRATING has not told yet that the last one is over.
  const live = status !== undefined && MOVES_LIVE.includes(status.state);
  if (!live && mode !== MigrationMode.SHUTDOWN) {
    const message = `${vm.name} does not run, so there is nothing to move live; by shutdown (--shutdown) it moves as it is`;
    throw new LockstepError('VM_NOT_RUNNING', message, { vm: vm.name });
  }
  if (vm.spec === undefined) throw new LockstepError('INTERNAL', `${vm.name} has no spec`);
  const target =
    request.targetNode === ''
      ? chooseNode(leading, vm.spec, { vmId: vm.id, source })
      : checkTarget(leading, vm.spec, { vmId: vm.id, source, target: request.targetNode });
  return Migration.create({
    id: leading.env.random.uuid(),
    vmId: vm.id,
    vmName: vm.name,
    sourceNode: source,
    targetNode: target,
    modeRequested: mode,
    state: MigrationState.PENDING,
    waitingReason: 'just asked for',
    requestId: request.requestId,
    createTime: leading.env.clock.wallTime(),
    bandwidthLimitBytesPerSecond: request.bandwidthLimitBytesPerSecond,
    setHome: request.setHome,
    transferDeadline: request.transferDeadline,
  });
}

/** Those who ask stay below what empties nodes. */
function askedPriority({ priority }: CreateMigrationRequest): number {
  const { REBALANCE, DRAIN } = MIGRATION_PRIORITY;
  if (priority >= REBALANCE && priority < DRAIN) return priority;
  throw invalidField('priority', String(priority), `${String(REBALANCE)} to ${String(DRAIN - 1)}`);
}

function modeOf(mode: MigrationMode): MigrationMode {
  switch (mode) {
    case MigrationMode.UNSPECIFIED:
    case MigrationMode.LIVE_OR_SHUTDOWN:
      return MigrationMode.LIVE_OR_SHUTDOWN;
    case MigrationMode.LIVE_ONLY:
      return MigrationMode.LIVE_ONLY;
    case MigrationMode.SHUTDOWN:
      return MigrationMode.SHUTDOWN;
    case MigrationMode.UNRECOGNIZED:
      throw invalidField('mode', String(mode), 'LIVE_OR_SHUTDOWN, LIVE_ONLY or SHUTDOWN');
  }
}

function refuseOpen(leading: Leading, vm: Vm): void {
  if (leading.undefining.has(vm.id)) throw new LockstepError('VM_LOCKED', `${vm.name} is being undefined`, { vm: vm.name });
  const own = openMigrationOf(leading, vm.id)?.id ?? (leading.creating.has(vm.id) ? '' : undefined);
  if (own !== undefined) {
    throw new LockstepError('VM_LOCKED', `${vm.name} is being moved already`, {
      vm: vm.name,
      ...(own === '' ? {} : { migration: own }),
    });
  }
  const open = leading.migrations.all().filter(({ record }) => !isTerminal(record.state)).length;
  if (open < MOST_OPEN) return;
  throw new LockstepError('QUEUE_FULL', `${String(open)} migrations are open, which is the most there can be`);
}

/** The one migration of a VM that has not ended, queued or begun. */
export function openMigrationOf(leading: Leading, vmId: string): Migration | undefined {
  return leading.migrations.all().find(({ record }) => record.vmId === vmId && !isTerminal(record.state))?.record;
}
