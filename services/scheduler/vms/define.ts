// SPDX-License-Identifier: Apache-2.0
import { VmDesired, VmSpec, type DefineVmRequest, type Vm } from '@lockstep/sdk/v1';
import { parseDomainXml, type DomainSummary } from '../../core/domain-xml/parse.js';
import { withUuid } from '../../core/domain-xml/epoch.js';
import { LockstepError } from '../../core/errors/catalogue.js';
import { vmCodec } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import type { TxnOp } from '../../platform/store/store.js';
import { LostTransaction, readEntry } from '../../membership/ledger.js';
import { chooseNode, checkNamedNode } from '../nodes/choose.js';
import { writeUntilKnown } from '../settled-write.js';
import type { Leading } from '../term.js';
import { checkRequestId, earlierResult, noteRequest } from '../../membership/requests.js';

const NO_INDEX = 0n;
const VMS = { prefix: keys.vms, codec: vmCodec };

/** Defines a VM: its record, its unique name and the note of its request, in one transaction. */
export async function defineVm(leading: Leading, request: DefineVmRequest): Promise<Vm> {
  checkRequestId(request.requestId);
  const earlier = await earlierResult(leading.env, request.requestId, VMS);
  if (earlier !== undefined) return earlier;
  const vm = plan(leading, request);
  refuseTaken(leading, vm);
  if (request.validateOnly) return vm;
  // Between the choice of its home and the write no other VM slips into the same room.
  const atItsHome = placed(vm, 0n);
  leading.defining.add(atItsHome);
  try {
    const { lastEpoch, holds } = await lastEpochOf(leading, vm.id);
    const steps = [...holds, ...noteRequest(request.requestId, keys.vm(vm.id))];
    return await writeNewVm(leading, placed(vm, lastEpoch + 1n), steps);
  } catch (error) {
    if (!(error instanceof LostTransaction)) throw error;
    return (await earlierResult(leading.env, request.requestId, VMS)) ?? taken(vm, error);
  } finally {
    leading.defining.delete(atItsHome);
  }
}

/** What a VM takes of its node, by its definition; what a request says of it is not read. */
export function sizeOf({ memoryBytes, vcpus, hugepages }: DomainSummary): Pick<VmSpec, 'memoryBytes' | 'vcpus' | 'hugepages'> {
  return { memoryBytes, vcpus, hugepages: [...hugepages] };
}

/** The highest placement epoch that an earlier VM with this UUID used, and the step that holds that; 0: none. */
export async function lastEpochOf({ env }: Leading, vmId: string): Promise<{ lastEpoch: bigint; holds: TxnOp[] }> {
  const key = keys.vmEpoch(vmId);
  const before = await readEntry(env, key);
  return {
    lastEpoch: BigInt(before?.value ?? '0'),
    holds: [{ op: 'check', key, index: before?.index ?? NO_INDEX }],
  };
}

/** The record with its first right to run, at its home. */
export function placed(vm: Vm, epoch: bigint): Vm {
  return { ...vm, placement: { node: vm.homeNode, epoch, lastEpoch: epoch, migrationId: '' } };
}

/** Writes a VM's record and its unique name. Fails with LostTransaction where either was taken meanwhile. */
export async function writeNewVm(leading: Leading, vm: Vm, holds: readonly TxnOp[]): Promise<Vm> {
  const ops: TxnOp[] = [
    { op: 'cas', key: keys.vmName(vm.name), value: vm.id, index: NO_INDEX },
    { op: 'cas', key: keys.vm(vm.id), value: vmCodec.encode(vm), index: NO_INDEX },
    ...holds,
  ];
  const isOurs = ({ name, requestId, createTime }: Vm): boolean =>
    name === vm.name && requestId === vm.requestId && createTime?.getTime() === vm.createTime?.getTime();
  const stored = await writeUntilKnown(leading, ops, { key: keys.vm(vm.id), codec: vmCodec, record: vm, isOurs });
  leading.vms.put(vm.id, stored);
  return stored.record;
}

/** The record as it would be. Reads only. */
function plan(leading: Leading, { spec, node, start, requestId }: DefineVmRequest): Vm {
  const { env } = leading;
  const given = spec ?? VmSpec.create();
  const parsed = parseDomainXml(given.domainXml);
  const id = parsed.uuid ?? env.random.uuid();
  const full: VmSpec = {
    ...given,
    domainXml: parsed.uuid === undefined ? withUuid(given.domainXml, id) : given.domainXml,
    ...sizeOf(parsed),
  };
  for (const name of full.nodeLimit) checkNamedNode(leading, name, 'spec.node_limit');
  const home = node === '' ? chooseNode(leading, full, {}) : checkNamedNode(leading, node, 'node');
  if (full.nodeLimit.length > 0 && !full.nodeLimit.includes(home)) {
    throw new LockstepError('NODE_LIMIT', `${home} is not in the VM's node limit`, { field: 'node', node: home });
  }
  const now = env.clock.wallTime();
  return {
    id,
    name: parsed.name,
    spec: full,
    desired: start ? VmDesired.RUNNING : VmDesired.STOPPED,
    homeNode: home,
    placement: undefined,
    status: undefined,
    etag: '',
    createTime: now,
    updateTime: now,
    requestId,
    trouble: undefined,
    returnNode: '',
  };
}

/**
 * A name or UUID is taken by a VM of ours, or by a domain on some node that nobody has adopted; `but`: the node whose
 * domain it is.
 */
export function refuseTaken(leading: Leading, vm: Pick<Vm, 'id' | 'name'>, but?: string): void {
  if (leading.vms.get(vm.id) !== undefined) throw idTaken(vm, 'a VM of this cluster');
  for (const node of leading.nodes.nodes()) {
    if (node.name === but) continue;
    for (const report of node.report?.vms.values() ?? []) {
      if (report.vmId === vm.id) throw idTaken(vm, `a domain on ${node.name}`);
      if (report.name === vm.name && leading.vms.get(report.vmId) === undefined) {
        throw nameTaken(vm, `an unmanaged domain on ${node.name}`);
      }
    }
  }
  if (leading.vms.all().some(({ record }) => record.name === vm.name)) throw nameTaken(vm, 'a VM of this cluster');
}

export function taken(vm: Vm, { failedOp }: LostTransaction): never {
  if (failedOp?.key === keys.vm(vm.id)) throw idTaken(vm, 'a VM of this cluster');
  throw nameTaken(vm, 'a VM of this cluster');
}

export function idTaken(vm: Pick<Vm, 'id'>, by: string): LockstepError {
  return new LockstepError('VM_ID_TAKEN', `the UUID ${vm.id} is taken by ${by}`, {
    field: 'spec.domain_xml:/domain/uuid',
    got: vm.id,
    want: 'a UUID that is not in use',
    vm: vm.id,
  });
}

function nameTaken(vm: Pick<Vm, 'name'>, by: string): LockstepError {
  return new LockstepError('VM_NAME_TAKEN', `the name ${vm.name} is taken by ${by}`, {
    field: 'spec.domain_xml:/domain/name',
    got: vm.name,
    want: 'a name that is not in use',
    vm: vm.name,
  });
}
