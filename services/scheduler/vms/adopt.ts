// SPDX-License-Identifier: Apache-2.0
import {
  EventSeverity,
  VmDesired,
  VmSpec,
  VmState,
  type AdoptVmRequest,
  type NodeAgentServiceAdoptVmResponse,
  type Vm,
  type VmReport,
} from '@lockstep/sdk/v1';
import { parseDomainXml } from '../../core/domain-xml/parse.js';
import { invalidField, LockstepError } from '../../core/errors/catalogue.js';
import { subjects } from '../../membership/events.js';
import { LostTransaction, retryLost } from '../../membership/ledger.js';
import type { TxnOp } from '../../platform/store/store.js';
import { openMigrationOf } from '../migrations/create.js';
import { checkNamedNode } from '../nodes/choose.js';
import type { Leading } from '../term.js';
import { findVm } from './find.js';
import { writeVm } from './lifecycle.js';
import { idTaken, lastEpochOf, placed, refuseTaken, sizeOf, taken, writeNewVm } from './define.js';

const AGENT_DEADLINE_MS = 30_000;

/** The VM as it is on record, and what it has that a live move cannot take along. */
export interface Adopted {
  vm: Vm;
  liveObstacles: string[];
}

/**
 * Takes a domain that nobody manages under the cluster's care, as it is. Its record is written first, as of a VM that is
 * left to its owner, then its placement epoch into the domain, and then what it shall be: a crash in between leaves a VM
 * that waits to be adopted again, never a domain with an epoch that nobody drew, nor one without that is started elsewhere.
 */
export async function adoptVm(leading: Leading, { vmId, node, validateOnly }: AdoptVmRequest): Promise<Adopted> {
  checkNamedNode(leading, node, 'node');
  const found = findDomain(leading, vmId, node);
  const known = leading.vms.get(found.vmId)?.record;
  if (known !== undefined) return await adoptAgain(leading, known, node, validateOnly);
  refuseTaken(leading, { id: found.vmId, name: found.name }, node);

  const { lastEpoch, holds } = await lastEpochOf(leading, found.vmId);
  if (found.placementEpoch !== 0n && found.placementEpoch <= lastEpoch) throw leftOver(found, node, lastEpoch);
  const look = await lookAbove(leading, found, node, found.placementEpoch > lastEpoch ? found.placementEpoch : lastEpoch);
  const vm = placed(recordOf(leading, look.answer, node), look.epoch);
  const { liveObstacles } = look.answer;
  if (validateOnly) return { vm, liveObstacles };
  try {
    const record = await recordAndStamp(leading, vm, node, holds);
    return { vm: await takeUnderCare(leading, record, vm.desired), liveObstacles };
  } catch (error) {
    if (error instanceof LostTransaction) taken(vm, error);
    throw error;
  }
}

/** Its node is not told meanwhile that it is left to its owner: who could have moved it since it was looked at? */
async function recordAndStamp(leading: Leading, vm: Vm, node: string, holds: readonly TxnOp[]): Promise<Vm> {
  leading.adopting.add(vm.id);
  try {
    const record = await writeNewVm(leading, { ...vm, desired: VmDesired.UNMANAGED }, holds);
    await order(leading, record, node, false);
    return record;
  } finally {
    leading.adopting.delete(vm.id);
  }
}

/** The record is there: what is left is what was interrupted, or its epoch that the domain has lost. */
async function adoptAgain(leading: Leading, vm: Vm, node: string, validateOnly: boolean): Promise<Adopted> {
  const at = vm.placement?.node ?? '';
  if (at !== node) throw idTaken(vm, `a VM of this cluster, on ${at}`);
  const migration = openMigrationOf(leading, vm.id);
  if (migration !== undefined) {
    throw new LockstepError('VM_LOCKED', `${vm.name} is being moved`, { vm: vm.name, migration: migration.id });
  }
  const answer = await order(leading, vm, node, validateOnly);
  const { liveObstacles } = answer;
  return { vm: validateOnly ? vm : await takeUnderCare(leading, vm, desiredOf(answer)), liveObstacles };
}

/** The domain carries its placement epoch: from here on the cluster sees to it that it goes on as it was. */
async function takeUnderCare(leading: Leading, { id }: Vm, desired: VmDesired): Promise<Vm> {
  return await retryLost(leading.env, async () => {
    const stored = findVm(leading, id);
    if (stored.record.desired !== VmDesired.UNMANAGED) return stored.record;
    return await writeVm(leading, stored, { desired }, [told(leading, { ...stored.record, desired })]);
  });
}

/** A domain on the node, by its UUID or name, as its agent last reported it. */
function findDomain(leading: Leading, idOrName: string, node: string): VmReport {
  if (idOrName === '') throw invalidField('vm_id', 'nothing', "a domain's UUID or name");
  const report = leading.nodes.node(node)?.report;
  if (report === undefined) throw new LockstepError('NODE_UNREACHABLE', `${node} has not reported its domains`, { node });
  const found = [...report.vms.values()].find(({ vmId, name }) => vmId === idOrName.toLowerCase() || name === idOrName);
  if (found !== undefined) return found;
  throw new LockstepError('DOMAIN_NOT_FOUND', `there is no domain ${idOrName} on ${node}`, {
    field: 'vm_id',
    got: idOrName,
    want: 'a domain that the node has',
    vm: idOrName,
    node,
  });
}

/** What the agent says of it, and a placement epoch that the node has not given up. Changes nothing. */
async function lookAbove(
  leading: Leading,
  { vmId }: VmReport,
  node: string,
  lastEpoch: bigint,
): Promise<{ answer: NodeAgentServiceAdoptVmResponse; epoch: bigint }> {
  const at = (epoch: bigint): Vm['placement'] => ({ node, epoch, lastEpoch: epoch, migrationId: '' });
  const epoch = lastEpoch + 1n;
  try {
    return { answer: await order(leading, { id: vmId, placement: at(epoch) }, node, true), epoch };
  } catch (error) {
    // The store forgot what this node remembers, as after the loss of all records.
    const floor = error instanceof LockstepError && error.reason === 'STALE_PLACEMENT' ? error.metadata['floor'] : undefined;
    if (floor === undefined) throw error;
    const above = BigInt(floor) + 1n;
    return { answer: await order(leading, { id: vmId, placement: at(above) }, node, true), epoch: above };
  }
}

async function order(
  leading: Leading,
  { id, placement }: Pick<Vm, 'id' | 'placement'>,
  node: string,
  validateOnly: boolean,
): Promise<NodeAgentServiceAdoptVmResponse> {
  const { client, header } = leading.orders.agent(node);
  return await client.adoptVm(
    { header, order: { vmId: id, placementEpoch: placement?.epoch ?? 0n, migrationId: '' }, validateOnly },
    { deadlineMs: AGENT_DEADLINE_MS, signal: leading.term.ended },
  );
}

/** What it does now is what it shall do. */
function desiredOf({ vm }: NodeAgentServiceAdoptVmResponse): VmDesired {
  const state = vm?.status?.state;
  return state === VmState.RUNNING || state === VmState.PAUSED ? VmDesired.RUNNING : VmDesired.STOPPED;
}

function recordOf({ env }: Leading, answer: NodeAgentServiceAdoptVmResponse, node: string): Vm {
  const { vm, domainXml } = answer;
  const parsed = parseDomainXml(domainXml);
  const now = env.clock.wallTime();
  return {
    id: vm?.vmId ?? '',
    name: parsed.name,
    spec: VmSpec.create({ domainXml, ...sizeOf(parsed) }),
    desired: desiredOf(answer),
    homeNode: node,
    placement: undefined,
    status: undefined,
    etag: '',
    createTime: now,
    updateTime: now,
    requestId: '',
    trouble: undefined,
    returnNode: '',
  };
}

function told({ events }: Leading, { id, name, homeNode, desired }: Vm): ReturnType<Leading['events']['step']> {
  return events.step({
    severity: EventSeverity.INFO,
    reason: 'VM_ADOPTED',
    message: `${name} was adopted on ${homeNode}; it shall ${desired === VmDesired.RUNNING ? 'run' : 'be stopped'}`,
    subject: subjects.vm(id),
  });
}

function leftOver({ name, placementEpoch }: VmReport, node: string, lastEpoch: bigint): LockstepError {
  const message = `${name} on ${node} is a left-over of a VM that was undefined`;
  return new LockstepError('STALE_PLACEMENT', message, { node, got: String(placementEpoch), want: `above ${String(lastEpoch)}` });
}
