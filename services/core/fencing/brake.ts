// SPDX-License-Identifier: Apache-2.0
import { DisarmMode } from '@lockstep/sdk/v1';

/** How much may be fenced. Times in milliseconds of the Fencer's monotonic clock. */
export interface BrakeLimits {
  /** Nodes that died or were fenced within this time count together. */
  windowMs: number;
  /** Actions worked at a time. */
  atOnce: number;
  /** A leader fences nobody of its own accord before it has led for so long. */
  holdOffMs: number;
}

export const BRAKE_LIMITS: BrakeLimits = { windowMs: 600_000, atOnce: 1, holdOffMs: 5_000 };

/** All that decides whether an action may go on now. */
export interface BrakeInput {
  node: string;
  /** Where this Fencer runs: it never fences that node. */
  ownNode: string;
  /** The Fencer itself asked for it; a person answers for what a person asks. */
  automatic: boolean;
  /** A person released it. */
  released: boolean;
  /** Whether the Fencer may act at all. */
  disarmed: { mode: DisarmMode; reason: string } | undefined;
  /** Why this observer's own sight is suspect; undefined: it is not. */
  blind: string | undefined;
  /** For how long this leader leads. */
  leadingMs: number;
  nodesTotal: number;
  /** Other nodes that are dead now, are being fenced, or were fenced within the window. */
  alsoDead: readonly string[];
  /** Other nodes that are silent now and not yet taken for dead. */
  alsoSilent: readonly string[];
  /** Other nodes whose actions are worked right now. */
  running: readonly string[];
  limits: BrakeLimits;
}

/** `wait` ends by itself; `hold` by a person. */
export type BrakeVerdict = { kind: 'go' } | { kind: 'wait'; reason: string } | { kind: 'hold'; reason: string };

const GO: BrakeVerdict = { kind: 'go' };

/** How many nodes of a cluster may die within a window before a person must look. */
export function mostDead(nodesTotal: number): number {
  return Math.max(1, Math.floor(nodesTotal / 3));
}

/**
 * Whether a fence action may go on. That more nodes than a third vanish at once is rather the observer's mistake, or its
 * network's, than theirs; powering them off then would make an outage of a disturbance.
 */
export function brake(input: BrakeInput): BrakeVerdict {
  const { node, ownNode, automatic, released, disarmed, blind, leadingMs, running, limits } = input;
  if (disarmed !== undefined) return wait(`the Fencer is disarmed (${modeWord(disarmed.mode)}): ${disarmed.reason}`);
  if (node === ownNode) return wait(`this Fencer runs on ${node} itself; another one must lead to fence it`);
  if (blind !== undefined) return wait(`this observer's own sight is suspect: ${blind}`);
  if (automatic && leadingMs < limits.holdOffMs) return wait('this leader has only just begun');
  if (automatic && !released) {
    const crowd = tooMany(input);
    if (crowd.kind !== 'go') return crowd;
  }
  if (running.length >= limits.atOnce) return wait(`its turn comes after ${running.join(' and ')}`);
  return GO;
}

function tooMany({ node, nodesTotal, alsoDead, alsoSilent }: BrakeInput): BrakeVerdict {
  const most = mostDead(nodesTotal);
  const dead = [node, ...alsoDead];
  if (dead.length > most) {
    return {
      kind: 'hold',
      reason: `${String(dead.length)} of ${String(nodesTotal)} nodes are dead or were fenced lately (${dead.sort().join(', ')}), and the brake lets ${String(most)} go`,
    };
  }
  if (dead.length + alsoSilent.length > most) {
    return wait(`${alsoSilent.join(' and ')} silent too: whether too many are dead is not known yet`);
  }
  return GO;
}

const wait = (reason: string): BrakeVerdict => ({ kind: 'wait', reason });

function modeWord(mode: DisarmMode): string {
  return mode === DisarmMode.IGNORE ? 'ignore' : 'freeze';
}
