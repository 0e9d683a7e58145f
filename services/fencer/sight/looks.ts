// SPDX-License-Identifier: Apache-2.0
import type { Clock } from '../../platform/clock/clock.js';
import { isAborted, pauseUnlessAborted } from '../../membership/back-off.js';
import type { Term } from '../../membership/leadership.js';
import type { NodeStreams, NodeView } from '../../membership/node-streams.js';

/** A node whose agent said nothing for so long has missed a sign: a closer look is taken. More than two heartbeats. */
export const MISSED_SIGN_MS = 3_000;
const LOOK_EVERY_MS = 1_000;

/** Whether a node gives reason for a closer look. */
export function missedSign({ session, lastMessageAtMs, connected }: NodeView, nowMs: number): boolean {
  if (session === undefined || !connected || lastMessageAtMs === undefined) return true;
  return nowMs - lastMessageAtMs > MISSED_SIGN_MS;
}

/** Calls `look` with all nodes every second for as long as a term lasts. */
export async function lookEverySecond(
  { clock, term, streams }: { clock: Clock; term: Term; streams: NodeStreams },
  look: (views: readonly NodeView[], nowMs: number) => void,
): Promise<void> {
  while (!isAborted(term.ended)) {
    if (streams.loaded()) look(streams.nodes(), clock.nowMs());
    await pauseUnlessAborted(clock, LOOK_EVERY_MS, term.ended);
  }
}

/** The next ones by name that can be asked about a node, in a ring: so each node is asked about as many others. */
export function peersOf(node: string, views: readonly NodeView[], most: number, nowMs: number): NodeView[] {
  const at = views.findIndex(({ name }) => name === node);
  const ring = [...views.slice(at + 1), ...views.slice(0, Math.max(at, 0))];
  return ring.filter((view) => !missedSign(view, nowMs)).slice(0, most);
}

/** What an error says, in one line. */
export function wordsOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
