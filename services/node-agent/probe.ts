// SPDX-License-Identifier: Apache-2.0
import { withDeadline } from '../platform/clock/clock.js';
import type { AgentEnv } from '../platform/env.js';

/** Longer than any observer waits. */
const LIMIT_MOST_MS = 10_000;

/** Looks for a sign of life of a peer's agent. Not getting one is an answer, not an error. */
export async function probe(
  { peers, clock }: Pick<AgentEnv, 'peers' | 'clock'>,
  address: string,
  limitMs: number,
  signal: AbortSignal,
): Promise<{ alive: boolean; detail: string }> {
  if (address === '') return { alive: true, detail: 'this agent answers' };
  const boundMs = Math.min(Math.max(limitMs, 1), LIMIT_MOST_MS);
  const startedMs = clock.nowMs();
  try {
    await withDeadline(clock, { what: `probe of ${address}`, limitMs: boundMs, signal }, (inner) =>
      peers.agent(address).probe({ address: '' }, { signal: inner, deadlineMs: boundMs }),
    );
    return { alive: true, detail: `answered in ${String(Math.round(clock.nowMs() - startedMs))} ms` };
  } catch (error) {
    return { alive: false, detail: error instanceof Error ? error.message : String(error) };
  }
}
