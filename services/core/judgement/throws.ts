// SPDX-License-Identifier: Apache-2.0
import { signsOf, type JudgementLimits, type NodeFacts } from './facts.js';

/** What an observer remembers of a node between two looks. */
export interface Track {
  incarnation: bigint;
  /** Whether it has served in this incarnation: it is not starting any more. */
  hasServed: boolean;
  throwsMissed: number;
  /** When a throw last was held, or a sign of life made it needless. */
  lastThrowAtMs: number;
  lastLookAtMs: number;
  /** When this life of the node was first looked at. */
  firstLookAtMs: number;
  /** When it was last seen alive, and by what; undefined: not yet. */
  lastSeen: { atMs: number; by: string[] } | undefined;
}

/** What came of one look. */
export interface Look {
  track: Track;
  /** Signs of life in words; empty: none. */
  signs: string[];
  /** How many throws the signs of life saved it from. */
  throwsSaved: number;
  /** Why a throw was not held although there is no sign of life; undefined: it was, or is not due yet. */
  notCounted: string | undefined;
}

/**
 * Takes one look at a node. At most one throw is missed per look, however long ago the last one was: an observer that
 * slept must not find a whole cluster dead when it wakes up.
 */
export function look(before: Track | undefined, facts: NodeFacts, nowMs: number, limits: JudgementLimits): Look {
  const known = before?.incarnation === facts.incarnation ? before : undefined;
  const track: Track = {
    incarnation: facts.incarnation,
    hasServed: known?.hasServed === true || facts.ownPhase === 'serving',
    throwsMissed: known?.throwsMissed ?? 0,
    lastThrowAtMs: known?.lastThrowAtMs ?? nowMs,
    lastLookAtMs: nowMs,
    firstLookAtMs: known?.firstLookAtMs ?? nowMs,
    lastSeen: known?.lastSeen,
  };

  const signs = signsOf(facts.observations);
  if (signs.length > 0) {
    const saved = { ...track, throwsMissed: 0, lastThrowAtMs: nowMs, lastSeen: { atMs: nowMs, by: signs } };
    return { track: saved, signs, throwsSaved: before?.throwsMissed ?? 0, notCounted: undefined };
  }

  const quiet = { signs, throwsSaved: 0 };
  const stoodMs = known === undefined ? 0 : nowMs - known.lastLookAtMs;
  if (stoodMs > limits.observerStallMs) {
    // What it missed while it stood still cannot be told from silence, so counting begins anew.
    const notCounted = `the observer itself stood still for ${seconds(stoodMs)}`;
    return { ...quiet, track: { ...track, throwsMissed: 0, lastThrowAtMs: nowMs }, notCounted };
  }
  if (facts.observerBlind !== undefined) {
    return { ...quiet, track: { ...track, lastThrowAtMs: nowMs }, notCounted: facts.observerBlind };
  }
  if (isLeaving(track, facts, nowMs, limits)) {
    return { ...quiet, track: { ...track, lastThrowAtMs: nowMs }, notCounted: undefined };
  }
  const dueAtMs = track.lastThrowAtMs + limits.throwMs;
  if (nowMs < dueAtMs) return { ...quiet, track, notCounted: undefined };
  const throwsMissed = Math.min(limits.throwsTotal, track.throwsMissed + 1);
  // A look that came a little late does not put the next throw off.
  const lastThrowAtMs = nowMs - dueAtMs < limits.throwMs / 2 ? dueAtMs : nowMs;
  return { ...quiet, track: { ...track, throwsMissed, lastThrowAtMs }, notCounted: undefined };
}

/** It said that it leaves, and has not been silent for longer than that may take. */
export function isLeaving(track: Track, facts: NodeFacts, nowMs: number, { leavingLimitMs }: JudgementLimits): boolean {
  return facts.ownPhase === 'leaving' && silentMs(track, nowMs) <= leavingLimitMs;
}

/** An observer that never saw it alive counts from its own first look. */
export function silentMs({ lastSeen, firstLookAtMs }: Track, nowMs: number): number {
  return nowMs - (lastSeen?.atMs ?? firstLookAtMs);
}

export function seconds(durationMs: number): string {
  return `${String(Math.round(durationMs / 100) / 10)} s`;
}
