// SPDX-License-Identifier: Apache-2.0
import type { RecoverNodeRequest, RecoverNodeResponse } from '@lockstep/sdk/v1';
import { invalidField, LockstepError } from '../../core/errors/catalogue.js';
import { isTerminal } from '../../core/migration/transitions.js';
import { nodeCodec } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { readEntry } from '../../membership/ledger.js';
import type { Leading } from '../term.js';

/**
 * Takes the Fencer's word that a node is off, if the node's record says the same. What follows needs no call: whoever
 * leads finds the proof in the record and goes on with the recovery, so repeating this changes nothing.
 */
export async function recoverNode(
  leading: Leading,
  { node, fenceActionId }: RecoverNodeRequest,
): Promise<RecoverNodeResponse> {
  if (node === '') throw invalidField('node', 'nothing', 'the name of a node');
  if (fenceActionId === '') throw invalidField('fence_action_id', 'nothing', 'the fence action that proved it off');
  const entry = await readEntry(leading.env, keys.node(node));
  if (entry === undefined) throw new LockstepError('NODE_NOT_FOUND', `there is no node ${node}`, { node });
  const { fencedBy } = nodeCodec.decode(entry.value, entry.index);
  if (fencedBy !== fenceActionId) {
    const holds = fencedBy === '' ? 'it is not proven off' : `it was proven off by ${fencedBy}`;
    throw new LockstepError('NOT_FENCED', `${node} is not proven off by ${fenceActionId}: ${holds}`, {
      node,
      field: 'fence_action_id',
      got: fenceActionId,
      want: fencedBy,
    });
  }
  const vms = leading.vms.all().filter(({ record }) => mayRunOn(leading, record.id, node)).length;
  leading.env.log.child('recovery').log('i', `${node} is proven off; ${String(vms)} VMs may run there`, { fenceActionId });
  return { vms };
}

/** Whether a node is in a VM's may-run set: its placement's node and, while a migration is open, both its ends. */
export function mayRunOn(leading: Leading, vmId: string, node: string): boolean {
  const { placement } = leading.vms.get(vmId)?.record ?? {};
  if (placement === undefined) return false;
  if (placement.node === node) return true;
  const migration = placement.migrationId === '' ? undefined : leading.migrations.get(placement.migrationId)?.record;
  if (migration === undefined || isTerminal(migration.state)) return false;
  return migration.targetNode === node || migration.sourceNode === node;
}
