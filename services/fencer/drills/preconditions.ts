// SPDX-License-Identifier: Apache-2.0
import { FenceDrillState, NodeJudgement, NodeMode, VmDesired, type FenceDrill } from '@lockstep/sdk/v1';
import { LockstepError } from '../../core/errors/catalogue.js';
import { isFenceEnded } from '../../core/fencing/transitions.js';
import { isTerminal } from '../../core/migration/transitions.js';
import { migrationCodec, nodeCodec, vmCodec } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { readEntries, readEntry } from '../../membership/ledger.js';
import { disarmed } from '../arming.js';
import type { FencerLeading } from '../leading.js';

const isRunning = ({ state }: Pick<FenceDrill, 'state'>): boolean => state === FenceDrillState.RUNNING;

/** A power cycle is for a node that is well, empty, and that nothing else is done about. */
export function refuseHarm(leading: FencerLeading, node: string): void {
  const { name, judging, streams, actions, drills } = leading;
  if (node === name) {
    const message = `the Fencer's leader runs on ${node} itself; another one must lead to switch it off`;
    throw new LockstepError('NOT_FENCEABLE', message, { node });
  }
  const stop = disarmed(leading);
  if (stop !== undefined) throw new LockstepError('FENCER_DISARMED', `the Fencer is disarmed by ${stop.by}: ${stop.reason}`, { node });
  refuseWhileCycled(leading, node);
  const other = drills.all().find(({ record }) => isRunning(record));
  if (other !== undefined) {
    throw new LockstepError('FENCE_TEST_OPEN', `${other.record.node} is being powered off and on; one at a time`, { node: other.record.node });
  }
  const open = actions.all().find(({ record }) => !isFenceEnded(record.state));
  if (open !== undefined) {
    const { id, node: fenced } = open.record;
    throw new LockstepError('FENCE_ACTION_OPEN', `${fenced} is being fenced; one at a time`, { node: fenced, fence_action: id });
  }
  const judgement = judging.verdictOf(node)?.judgement;
  if (judgement !== NodeJudgement.ALIVE || streams.node(node)?.connected !== true) {
    throw new LockstepError('NODE_NOT_READY', `${node} is not alive and heard now: a power cycle would show nothing`, { node });
  }
}

/** Whoever asks for something about a node that is being powered off and on is told so. */
export function refuseWhileCycled({ drills }: Pick<FencerLeading, 'drills'>, node: string): void {
  const drill = drills.get(node)?.record;
  if (drill === undefined || !isRunning(drill)) return;
  throw new LockstepError('FENCE_TEST_OPEN', `${node} is being powered off and on, as ${drill.requestedBy} asked`, { node });
}

/**
 * It ends every guest on the host, and none may come in the middle: only a node that takes no VMs is switched off.
 * Resolves with the index of the node's record that says so.
 */
export async function refuseUnlessEmpty(leading: FencerLeading, node: string): Promise<bigint> {
  const { streams, env } = leading;
  const view = streams.node(node);
  const refused = (why: string): LockstepError => new LockstepError('NODE_NOT_EMPTY', `${why}; a power cycle ends every guest there`, { node });
  const entry = await readEntry(env, keys.node(node));
  const { mode } = entry === undefined ? {} : nodeCodec.decode(entry.value, entry.index);
  if (mode !== NodeMode.CORDONED && mode !== NodeMode.MAINTENANCE) throw refused(`${node} takes VMs: empty and cordon it first`);
  const running = view?.report?.node.figures?.vmsRunning ?? 0;
  if (running > 0) throw refused(`${String(running)} VMs run on ${node}`);
  for (const { value, index } of await readEntries(env, keys.vms)) {
    const { id, placement, desired } = vmCodec.decode(value, index);
    if (placement?.node === node && desired === VmDesired.RUNNING) throw refused(`VM ${id} is to run on ${node}`);
  }
  for (const { value, index } of await readEntries(env, keys.migrations)) {
    const { id, sourceNode, targetNode, state } = migrationCodec.decode(value, index);
    if (!isTerminal(state) && (sourceNode === node || targetNode === node)) throw refused(`migration ${id} is open on ${node}`);
  }
  return entry?.index ?? 0n;
}
