// SPDX-License-Identifier: Apache-2.0
import { isReason, type Reason } from '../errors/catalogue.js';

/**
 * Ends of a live attempt that lie in the guest or in the target: trying again would end the same way, and moving by
 * shutdown would not. Everything else must never shut a guest down: lost contact and store trouble pass, a cancel is
 * somebody's wish, a target without room cannot start it either, and TRANSFER_FAILED may be the link as well.
 */
const RULES_OUT_LIVE: ReadonlySet<Reason> = new Set<Reason>(['HYPERVISOR_REFUSED', 'NOT_CONVERGED']);

export function rulesOutLive(reason: string): boolean {
  return isReason(reason) && RULES_OUT_LIVE.has(reason);
}
