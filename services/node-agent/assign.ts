// SPDX-License-Identifier: Apache-2.0
import { VmDesired } from '@lockstep/sdk/v1';
import { vmCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import type { Joined } from './joining.js';
import type { AgentParts } from './parts.js';
import type { Reconciler } from './reconcile.js';
import { wishOf } from './wishes.js';

/** A Prepare waits for this read, and the guest runs on meanwhile. */
const RECORD_LIMIT_MS = 3_000;

/**
 * What all records, read after joining, mean for this node: what belongs here, which notes are of migrations that were
 * closed meanwhile, and which copies have been superseded elsewhere.
 */
export async function assignFromRecords(
  parts: AgentParts,
  reconciler: Reconciler,
  { vms, undefinedVms, leftAlone }: Pick<Joined, 'vms' | 'undefinedVms' | 'leftAlone'>,
): Promise<void> {
  // An undefined VM had gone on elsewhere where its last placement epoch is higher than that of the copy here.
  const elsewhere = new Map(undefinedVms);
  for (const vmId of undefinedVms.keys()) await closeNotes(parts, vmId, '');
  for (const vm of vms) {
    const { node = '', epoch = 0n, migrationId = '' } = vm.placement ?? {};
    await closeNotes(parts, vm.id, migrationId);
    // Also while it moves: neither end of the move holds a copy of a lower epoch than the record's.
    if (node !== parts.config.node) elsewhere.set(vm.id, epoch);
    else if (migrationId === '') {
      const { id: vmId, spec } = vm;
      const desired = leftAlone ? VmDesired.UNMANAGED : vm.desired;
      reconciler.assign(vmId, wishOf({ vmId, desired, placementEpoch: epoch, spec, from: 'record' }));
    }
  }
  reconciler.supersede(elsewhere);
}

/** A note of any other migration than the record's open one is of a migration that was closed without this agent. */
async function closeNotes({ memory }: AgentParts, vmId: string, openMigrationId: string): Promise<void> {
  const { outgoing, armed } = memory.notes(vmId);
  if (outgoing !== undefined && outgoing.migrationId !== openMigrationId) {
    await memory.closeOutgoing(vmId, outgoing.migrationId);
  }
  if (armed?.closed === false && armed.migrationId !== openMigrationId) {
    await memory.closeArmed(vmId, armed.migrationId);
  }
}

/**
 * What this node was once prepared for may be closed by now without a word to it: its host was proven off, and it joined
 * while the other end was still to be told. Asked where such a note is in the way; a store that is silent changes nothing.
 */
export async function forgetClosedPreparation({ env, memory, stopped }: AgentParts, vmId: string): Promise<void> {
  const { armed } = memory.notes(vmId);
  if (armed?.closed !== false) return;
  try {
    const entry = await env.store.get(keys.vm(vmId), { consistency: 'consistent', deadlineMs: RECORD_LIMIT_MS, signal: stopped });
    const open = entry === undefined ? '' : vmCodec.decode(entry.value, entry.index).placement?.migrationId;
    if (armed.migrationId !== open) await memory.closeArmed(vmId, armed.migrationId);
  } catch (error) {
    env.log.warn('whether an earlier migration is still open cannot be read', { vm: vmId, error });
  }
}

/** What an earlier life of this agent was told: it still says what to stop and what belongs here, never what to start. */
export function assignFromMemory({ memory }: AgentParts, reconciler: Reconciler): void {
  for (const vmId of memory.vmIds()) {
    const { assignment } = memory.notes(vmId);
    if (assignment === undefined || assignment.desired === VmDesired.UNMANAGED) continue;
    const { placementEpoch } = assignment;
    const desired = assignment.desired === VmDesired.RUNNING ? VmDesired.RUNNING : VmDesired.STOPPED;
    reconciler.assign(vmId, wishOf({ vmId, desired, placementEpoch, spec: undefined, from: 'memory' }));
  }
}
