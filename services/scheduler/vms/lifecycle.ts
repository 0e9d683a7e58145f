// SPDX-License-Identifier: Apache-2.0
import { VmDesired, VmState, type Vm } from '@lockstep/sdk/v1';
import { LockstepError } from '../../core/errors/catalogue.js';
import { vmCodec, type Stored } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { retryLost } from '../../membership/ledger.js';
import type { TxnOp } from '../../platform/store/store.js';
import { openMigrationOf } from '../migrations/create.js';
import type { MigrationQueue } from '../migrations/queue.js';
import { durationOf } from '../../core/duration.js';
import { shutdownLimitMs } from '../../core/shutdown-limit.js';
import { checkNamedNode } from '../nodes/choose.js';
import { writeUntilKnown } from '../settled-write.js';
import type { Leading } from '../term.js';
import { findVm } from './find.js';
import { withStatus } from './status.js';
import { runsByHandOn } from './whereabouts.js';

const AGENT_DEADLINE_MS = 30_000;
const NOW = durationOf(0);

/** Wants a VM to run: a fresh placement epoch opens the attempt, and the assignment carries it to the node. */
export async function startVm(leading: Leading, idOrName: string, node: string): Promise<Vm> {
  return await retryLost(leading.env, async () => {
    const stored = findVm(leading, idOrName);
    const { record } = stored;
    refuseLocked(leading, record);
    const { placement, desired } = record;
    if (placement === undefined) throw new LockstepError('INTERNAL', `${record.name} has no placement`);
    const target = node === '' ? placement.node : checkNamedNode(leading, node, 'node');
    const { status } = withStatus(leading, record);
    const gaveUp = status?.state === VmState.CRASHED || status?.state === VmState.ERROR;
    if (target === placement.node && desired === VmDesired.RUNNING && !gaveUp && record.trouble === undefined) return record;
    // What was left to its owner is taken up as the attempt that it was, so that it is known again wherever it runs.
    if (desired === VmDesired.UNMANAGED && target === placement.node) {
      return await writeVm(leading, stored, { desired: VmDesired.RUNNING, trouble: undefined });
    }
    const byHand = target === placement.node ? undefined : runsByHandOn(leading, record);
    if (byHand !== undefined) {
      const message = `${record.name} runs on ${byHand}, where its owner moved it`;
      throw new LockstepError('VM_RUNNING', message, { vm: record.name, node: byHand });
    }
    const epoch = placement.lastEpoch + 1n;
    const begin = (): Promise<Vm> =>
      writeVm(leading, stored, {
        desired: VmDesired.RUNNING,
        placement: { ...placement, node: target, epoch, lastEpoch: epoch },
        trouble: undefined,
      });
    return target === placement.node ? await begin() : await leaveNode(leading, record, begin);
  });
}

/** Wants a VM to be stopped. An open migration is called off first; past its commit point its close is waited for. */
export async function stopVm(
  leading: Leading,
  queue: MigrationQueue,
  idOrName: string,
  force: boolean,
): Promise<Vm> {
  const { record } = findVm(leading, idOrName);
  const migration = openMigrationOf(leading, record.id);
  if (migration !== undefined) {
    await queue.cancel(migration.id).catch((error: unknown) => {
      const late = error instanceof LockstepError && error.reason === 'PAST_POINT_OF_NO_RETURN';
      if (!late) throw error;
    });
  }
  const stopped = await retryLost(leading.env, async () => {
    const stored = findVm(leading, record.id);
    return stored.record.desired === VmDesired.STOPPED
      ? stored.record
      : await writeVm(leading, stored, { desired: VmDesired.STOPPED, trouble: undefined });
  });
  if (force) await orderStop(leading, stopped);
  return stopped;
}

/** Restarts the guest's system in place. The order is given now; its end shows in the VM's state. */
export function restartVm(leading: Leading, idOrName: string, force: boolean): Vm {
  const { record } = findVm(leading, idOrName);
  refuseLocked(leading, record);
  const { status } = withStatus(leading, record);
  if (status?.state !== VmState.RUNNING) {
    throw new LockstepError('VM_NOT_RUNNING', `${record.name} does not run`, { vm: record.name });
  }
  const { client, header } = leading.orders.agent(status.node);
  const limitMs = force ? 0 : shutdownLimitMs(record.spec);
  const order = { vmId: record.id, placementEpoch: record.placement?.epoch ?? 0n, migrationId: '' };
  void client
    .restartVm(
      { header, order, shutdownLimit: durationOf(limitMs) },
      { deadlineMs: limitMs + AGENT_DEADLINE_MS, signal: leading.term.ended },
    )
    .catch((error: unknown) => {
      leading.env.log.child(`vm/${record.name}`).error('the restart failed', { error });
    });
  return record;
}

/** Forgets a stopped VM: first its definition, then its record. A crash in between leaves a record that defines it anew. */
export async function undefineVm(leading: Leading, idOrName: string): Promise<void> {
  const { record, index } = findVm(leading, idOrName);
  refuseLocked(leading, record);
  const { status } = withStatus(leading, record);
  if (record.desired === VmDesired.RUNNING || status?.state !== VmState.STOPPED) {
    if (status?.reason === 'NODE_UNREACHABLE') {
      throw new LockstepError('NODE_UNREACHABLE', status.detail, { node: status.node, vm: record.name });
    }
    throw new LockstepError('VM_RUNNING', `${record.name} is not stopped`, { vm: record.name });
  }
  // Until it is gone no move of it slips in: that would wait for a VM that is not there.
  leading.undefining.add(record.id);
  try {
    const ops = [
      { op: 'delete-cas', key: keys.vm(record.id), index },
      { op: 'delete', key: keys.vmName(record.name) },
      { op: 'set', key: keys.vmEpoch(record.id), value: (record.placement?.lastEpoch ?? 0n).toString() },
      ...(record.requestId === '' ? [] : [{ op: 'delete', key: keys.request(record.requestId) } as const]),
    ] as const;
    leading.vms.remove(record.id, await leaveNode(leading, record, () => leading.ledger.write(ops)));
  } finally {
    leading.undefining.delete(record.id);
  }
}

/**
 * The node gives a stopped VM up, durably, and removes its definition (INV-3, INV-5); then follows what it does so for.
 * Where that fails the VM may stay with its node, which is told again what it shall be.
 */
export async function leaveNode<T>(leading: Leading, vm: Vm, then: () => Promise<T>): Promise<T> {
  const placement = vm.placement;
  if (placement === undefined) return await then();
  try {
    const { client, header } = leading.orders.agent(placement.node);
    const order = { vmId: vm.id, placementEpoch: placement.lastEpoch, migrationId: '' };
    const call = { deadlineMs: AGENT_DEADLINE_MS, signal: leading.term.ended };
    await client.giveUp({ header, order }, call);
    await client.removeVm({ header, order }, call);
    return await then();
  } catch (error) {
    leading.toTellAgain.add(vm.id);
    throw error;
  }
}

async function orderStop(leading: Leading, vm: Vm): Promise<void> {
  if (vm.placement === undefined) return;
  const { client, header } = leading.orders.agent(vm.placement.node);
  const order = { vmId: vm.id, placementEpoch: vm.placement.epoch, migrationId: '' };
  await client.stopVm(
    { header, order, shutdownLimit: NOW, sequence: leading.orders.nextWish() },
    { deadlineMs: AGENT_DEADLINE_MS, signal: leading.term.ended },
  );
}

function refuseLocked(leading: Leading, vm: Vm): void {
  const migration = openMigrationOf(leading, vm.id)?.id ?? (leading.creating.has(vm.id) ? '' : undefined);
  if (migration === undefined) return;
  throw new LockstepError('VM_LOCKED', `${vm.name} is being moved`, { vm: vm.name, ...(migration === '' ? {} : { migration }) });
}

/** Writes a VM as it was read, with a change. Fails with LostTransaction where it was written meanwhile. */
export async function writeVm(
  leading: Leading,
  stored: Stored<Vm>,
  change: Partial<Vm>,
  /** What the change rests on beside the record. */
  holds: readonly TxnOp[] = [],
): Promise<Vm> {
  const { next, ops } = changed(leading, stored, change, holds);
  const index = await leading.ledger.write(ops);
  const record = { ...next, etag: index.toString() };
  leading.vms.put(next.id, { record, index });
  return record;
}

/** As `writeVm`, for what gives a VM to another node, whose room it takes (INV-6). */
export async function placeVm(
  leading: Leading,
  stored: Stored<Vm>,
  change: Partial<Vm> & Pick<Required<Vm>, 'placement'>,
  holds: readonly TxnOp[],
): Promise<Vm> {
  const { next, ops } = changed(leading, stored, change, holds);
  // The node may have got its own placement anew meanwhile, under the same epoch.
  const isOurs = ({ placement }: Vm): boolean =>
    placement !== undefined && placement.epoch === change.placement?.epoch && placement.node === change.placement.node;
  const written = await writeUntilKnown(leading, ops, { key: keys.vm(next.id), codec: vmCodec, record: next, isOurs });
  leading.vms.put(next.id, written);
  return written.record;
}

function changed(leading: Leading, { record, index }: Stored<Vm>, change: Partial<Vm>, holds: readonly TxnOp[]): { next: Vm; ops: TxnOp[] } {
  const next: Vm = { ...record, ...change, updateTime: leading.env.clock.wallTime() };
  return { next, ops: [...holds, { op: 'cas', key: keys.vm(next.id), value: vmCodec.encode(next), index }] };
}
