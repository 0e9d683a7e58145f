// SPDX-License-Identifier: Apache-2.0
import { VmDesired, VmRecovery, type UpdateVmRequest, type Vm, type VmSpec } from '@lockstep/sdk/v1';
import { parseDomainXml } from '../../core/domain-xml/parse.js';
import { withUuid } from '../../core/domain-xml/epoch.js';
import { invalidField, LockstepError } from '../../core/errors/catalogue.js';
import { retryLost } from '../../membership/ledger.js';
import { openMigrationOf } from '../migrations/create.js';
import { checkNamedNode } from '../nodes/choose.js';
import type { Leading } from '../term.js';
import { sizeOf } from './define.js';
import { findVm } from './find.js';
import { writeVm } from './lifecycle.js';

const WISHES: readonly VmDesired[] = [VmDesired.RUNNING, VmDesired.STOPPED, VmDesired.DISABLED, VmDesired.UNMANAGED];

/**
 * Changes what a VM is, what is wanted of it, or where it belongs. A running guest takes a changed definition at its next
 * start. Fails with ETAG_MISMATCH where it was changed meanwhile, and with VM_LOCKED while it is being moved.
 */
export async function updateVm(leading: Leading, request: UpdateVmRequest): Promise<Vm> {
  return await retryLost(leading.env, async () => {
    const stored = findVm(leading, request.vm);
    const { record } = stored;
    if (request.etag !== '' && request.etag !== record.etag) {
      const message = `${record.name} was changed by somebody else meanwhile; read it again`;
      throw new LockstepError('ETAG_MISMATCH', message, { field: 'etag', got: request.etag, want: record.etag, vm: record.name });
    }
    const migration = openMigrationOf(leading, record.id);
    if (migration !== undefined && request.spec !== undefined) {
      throw new LockstepError('VM_LOCKED', `${record.name} is being moved`, { vm: record.name, migration: migration.id });
    }
    return await writeVm(leading, stored, {
      ...(request.spec === undefined ? {} : { spec: specOf(leading, record, request.spec) }),
      ...wishOf(record, request.desired),
      ...(request.homeNode === '' ? {} : { homeNode: checkNamedNode(leading, request.homeNode, 'home_node') }),
    });
  });
}

/** Another wish begins anew: what went wrong under the last one is forgotten. */
function wishOf(record: Vm, desired: VmDesired): Partial<Vm> {
  if (desired === VmDesired.UNSPECIFIED || desired === record.desired) return {};
  if (!WISHES.includes(desired)) throw invalidField('desired', String(desired), 'RUNNING, STOPPED, DISABLED or UNMANAGED');
  return { desired, trouble: undefined };
}

/** Its name and UUID are what it is known by, and stay; without a definition of its own the present one stays. */
function specOf(leading: Leading, { id, name, spec: before }: Vm, given: VmSpec): VmSpec {
  const domainXml = given.domainXml === '' ? (before?.domainXml ?? '') : given.domainXml;
  const parsed = parseDomainXml(domainXml);
  if (parsed.name !== name) throw invalidField('spec.domain_xml:/domain/name', parsed.name, name);
  if (parsed.uuid !== undefined && parsed.uuid !== id) throw invalidField('spec.domain_xml:/domain/uuid', parsed.uuid, id);
  for (const node of given.nodeLimit) checkNamedNode(leading, node, 'spec.node_limit');
  if (!([VmRecovery.UNSPECIFIED, VmRecovery.RESTART, VmRecovery.STAY_OFF] as number[]).includes(given.recovery)) {
    throw invalidField('spec.recovery', String(given.recovery), 'RESTART or STAY_OFF');
  }
  return {
    ...given,
    domainXml: parsed.uuid === undefined ? withUuid(domainXml, id) : domainXml,
    ...sizeOf(parsed),
  };
}
