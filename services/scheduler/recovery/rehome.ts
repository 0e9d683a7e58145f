// SPDX-License-Identifier: Apache-2.0
import { EventSeverity, VmDesired, VmRecovery, type Vm, type VmSpec } from '@lockstep/sdk/v1';
import { LockstepError } from '../../core/errors/catalogue.js';
import { explain } from '../../core/placement/place.js';
import { subjects } from '../../membership/events.js';
import type { Logger } from '../../platform/log/log.js';
import { retryLost } from '../../membership/ledger.js';
import { decide } from '../nodes/choose.js';
import { withRoom } from '../settled-write.js';
import type { Leading } from '../term.js';
import { placeVm } from '../vms/lifecycle.js';
import { waitForTarget } from './no-target.js';
import { proofOf, type Proof } from './proof.js';
import type { StorageLocks } from './storage-locks.js';

/**
 * Gives a VM of a host that is proven off to another node, under a fresh placement epoch, in a transaction that holds
 * only while the proof does (INV-3), once nothing of that host's holds its disks. From there the assignment starts it. Where
 * no node can take it, says why.
 */
export async function rehome(leading: Leading, vmId: string, locks: StorageLocks, log: Logger): Promise<void> {
  await retryLost(leading.env, async () => {
    const stored = leading.vms.get(vmId);
    const { placement, spec, name, desired } = stored?.record ?? {};
    const proof = placement === undefined ? undefined : proofOf(leading, placement.node);
    if (stored === undefined || placement === undefined || proof === undefined || placement.migrationId !== '') return;
    if (spec === undefined) throw new LockstepError('INTERNAL', `${String(name)} has no spec`);
    const decision = decide(leading, spec, { vmId, source: placement.node });
    if (decision.node === undefined) {
      waitForTarget(leading, stored.record, explain(decision), log);
      return;
    }
    leading.noTarget.delete(vmId);
    // Asked again when they are.
    if (!locks.areReleased(stored.record, proof, decision.node)) return;
    const epoch = placement.lastEpoch + 1n;
    const change = {
      placement: { ...placement, node: decision.node, epoch, lastEpoch: epoch },
      ...(staysOff(desired, spec) ? stoppedFor(leading, proof, stored.record) : {}),
    };
    const message = toldBy(stored.record, proof, decision.node, change.desired ?? stored.record.desired);
    const told = leading.events.step({ severity: EventSeverity.WARNING, reason: 'VM_RECOVERED', message, subject: subjects.vm(vmId) });
    await withRoom(leading, vmId, decision.node, async () => {
      await leading.env.points('scheduler/recovery/placing');
      await placeVm(leading, stored, change, [proof.holds, told]);
    });
    await leading.env.points('scheduler/recovery/placed');
    log.ok(message, { vm: vmId, fenceActionId: proof.fenceActionId });
  });
}

function toldBy({ name }: Vm, { node, fenceActionId }: Proof, target: string, desired: VmDesired): string {
  const what = desired === VmDesired.RUNNING ? `is started on ${target}` : `belongs to ${target} now and stays off`;
  return `${name} ${what}: ${node} is proven off by ${fenceActionId}`;
}

function staysOff(desired: VmDesired | undefined, { recovery }: VmSpec): boolean {
  return desired === VmDesired.RUNNING && recovery === VmRecovery.STAY_OFF;
}

/** It ran on the dead host and is not to run again without a person's word; the record keeps why it is off. */
function stoppedFor(leading: Leading, { node }: Proof, { trouble }: Vm): Partial<Vm> {
  return {
    desired: VmDesired.STOPPED,
    trouble: {
      relocations: trouble?.relocations ?? 0,
      givenUp: false,
      reason: 'HOST_OFF',
      detail: `${node} is proven off, and this VM stays off then, until it is started`,
      nodes: trouble?.nodes ?? [],
      time: leading.env.clock.wallTime(),
    },
  };
}
