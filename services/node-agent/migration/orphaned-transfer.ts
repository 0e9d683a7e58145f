// SPDX-License-Identifier: Apache-2.0
import { LockstepError } from '../../core/errors/catalogue.js';
import { sleep, type Clock } from '../../platform/clock/clock.js';
import { HypervisorError, type Hypervisor, type OutgoingMigration } from '../../platform/hypervisor/hypervisor.js';
import { CALL_MS } from '../config.js';

/** After an abort the hypervisor needs a moment to let the guest run on. */
const ENDS_WITHIN_MS = 30_000;
const LOOK_EVERY_MS = 200;

/** Whether the hypervisor still sends a guest's memory, begun by an earlier life of this agent. */
export async function orphanIsActive(hypervisor: Hypervisor, vmId: string): Promise<boolean> {
  return withHandle(hypervisor, vmId, hasJob, false);
}

/** Aborts such a transfer and waits for its end. Fails with DEADLINE where it does not end. */
export async function endOrphan(hypervisor: Hypervisor, clock: Clock, vmId: string): Promise<void> {
  const untilMs = clock.nowMs() + ENDS_WITHIN_MS;
  await withHandle(
    hypervisor,
    vmId,
    async (handle) => {
      while (await hasJob(handle)) {
        if (clock.nowMs() >= untilMs) throw new LockstepError('DEADLINE', 'the transfer does not end', { vm: vmId });
        await abortIfActive(handle);
        await sleep(clock, LOOK_EVERY_MS);
      }
    },
    undefined,
  );
}

/** Aborting what has just ended by itself is no failure. */
export async function abortIfActive(handle: OutgoingMigration): Promise<void> {
  try {
    await handle.abort({ deadlineMs: CALL_MS.tune });
  } catch (error) {
    if (!(error instanceof HypervisorError) || error.kind !== 'no-job') throw error;
  }
}

async function hasJob(handle: OutgoingMigration): Promise<boolean> {
  try {
    await handle.progress({ deadlineMs: CALL_MS.tune });
    return true;
  } catch (error) {
    if (error instanceof HypervisorError && (error.kind === 'no-job' || error.kind === 'gone')) return false;
    throw error;
  }
}

async function withHandle<T>(
  hypervisor: Hypervisor,
  vmId: string,
  work: (handle: OutgoingMigration) => Promise<T>,
  ifGone: T,
): Promise<T> {
  let handle: OutgoingMigration;
  try {
    handle = await hypervisor.openOutgoing(vmId, { deadlineMs: CALL_MS.open });
  } catch (error) {
    if (error instanceof HypervisorError && error.kind === 'gone') return ifGone;
    throw error;
  }
  try {
    return await work(handle);
  } finally {
    handle.close();
  }
}
