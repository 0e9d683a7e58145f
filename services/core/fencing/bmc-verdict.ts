// SPDX-License-Identifier: Apache-2.0
import { Fenceability } from '@lockstep/sdk/v1';
import { fenceable, notFenceable, unknownFenceability, type Finding } from './bmc-check.js';

/** One check of a node's BMC, as its observer answered. */
export interface BmcCheck extends Finding {
  /** The node that checked. */
  observer: string;
  /** When it answered, by the asking service's monotonic clock. */
  atMs: number;
}

/**
 * Whether fencing a node would work, from who checked its BMC. It is the peers who fence, so what they find counts, and
 * the worst of it: any of them may lead. The node's own word counts where no peer can tell, and then only its "no";
 * many hosts cannot reach their own BMC over a port that they share with it.
 */
export function bmcVerdict(node: string, checks: readonly BmcCheck[]): Finding {
  const peers = checks.filter(({ observer }) => observer !== node);
  const peersKnow = peers.filter(({ fenceability }) => fenceability !== Fenceability.UNKNOWN);
  const counting = peersKnow.length > 0 ? peersKnow : checks;
  const no = counting.filter(({ fenceability }) => fenceability === Fenceability.NOT_FENCEABLE);
  if (no.length > 0) return notFenceable(said(no));
  if (peersKnow.length > 0) return fenceable(said(peersKnow));
  if (checks.length === 0) return unknownFenceability('its BMC has not been checked yet');
  return unknownFenceability(peers.length === 0 ? `no peer could check it; ${said(checks)}` : said(peers));
}

/** What was caught saying "off" of a host that ran on proves nothing, whoever reaches it. */
export function distrusted(checked: Finding, powerDistrust: string): Finding {
  return powerDistrust === '' ? checked : notFenceable(`its devices are not believed: ${powerDistrust}`);
}

/** Who says what; the same words of several are said once. */
function said(checks: readonly BmcCheck[]): string {
  const observers = new Map<string, BmcCheck[]>();
  for (const check of checks) observers.set(check.detail, [...(observers.get(check.detail) ?? []), check]);
  return [...observers].map(([detail, by]) => `${by.map(({ observer }) => observer).join(' and ')}: ${detail}`).join('; ');
}
