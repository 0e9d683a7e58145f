// SPDX-License-Identifier: Apache-2.0
import { CALL_MS } from '../config.js';
import { runsVcpus } from '../domain-states.js';
import { asLockstepError } from '../hypervisor-errors.js';
import type { AgentParts } from '../parts.js';
import { pauseUnlessAborted } from '../../membership/back-off.js';
import type { Domain } from '../../platform/hypervisor/hypervisor.js';

const LOOK_EVERY_MS = 500;

/**
 * Stops every VM of the cluster on this host: asks each to shut down, forces those that have not after `graceMs`, and
 * answers with those whose vCPUs run still. Domains that are not the cluster's are left alone. Where the
 * hypervisor does not tell what runs it fails with the reason for that, such as HYPERVISOR_DOWN or DEADLINE.
 */
export async function stopAllVms({ env, stopped }: AgentParts, graceMs: number): Promise<string[]> {
  const running = async (): Promise<Domain[]> => {
    const domains = await env.hypervisor.list({ deadlineMs: CALL_MS.read, signal: stopped }).catch((error: unknown) => {
      throw asLockstepError(error, 'StopAllVms');
    });
    return domains.filter(({ placementEpoch, state }) => placementEpoch !== undefined && runsVcpus(state));
  };
  const log = env.log.child('fencing');
  const each = async (what: string, work: (uuid: string) => Promise<void>): Promise<void> => {
    await Promise.all(
      (await running()).map(async ({ uuid }) => {
        await work(uuid).catch((error: unknown) => {
          log.warn(`${what} failed`, { vm: uuid, error });
        });
      }),
    );
  };
  if (graceMs > 0) {
    await each('shutdown', (uuid) => env.hypervisor.shutdown(uuid, { deadlineMs: CALL_MS.tune }));
    const untilMs = env.clock.nowMs() + graceMs;
    while (env.clock.nowMs() < untilMs && !stopped.aborted && (await running()).length > 0) {
      await pauseUnlessAborted(env.clock, LOOK_EVERY_MS, stopped);
    }
  }
  await each('destroy', (uuid) => env.hypervisor.destroy(uuid, { deadlineMs: CALL_MS.destroy }));
  return (await running()).map(({ uuid }) => uuid);
}
