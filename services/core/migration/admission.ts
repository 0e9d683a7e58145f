// SPDX-License-Identifier: Apache-2.0
import type { Migration } from '@lockstep/sdk/v1';

/** How many migrations may be open at once. */
export interface Limits {
  perCluster: number;
  outPerNode: number;
  inPerNode: number;
}

type Waiting = Pick<Migration, 'id' | 'vmId' | 'sourceNode' | 'targetNode' | 'priority'>;
type Open = Pick<Migration, 'vmId' | 'sourceNode' | 'targetNode'>;

export interface AdmissionInput {
  waiting: readonly Waiting[];
  open: readonly Open[];
  limits: Limits;
  /** Why a node cannot take part now; undefined: it can. */
  obstacleAt: (node: string) => string | undefined;
}

export interface Admission {
  /** Those that may begin now, in the order in which they do. */
  admitted: string[];
  /** The others in their order, with what each waits for. */
  held: { id: string; reason: string }[];
}

/**
 * Who begins next. The larger priority goes first; among equals the sources take turns, so that a node that is emptied
 * does not keep the others waiting; then by age. One that cannot begin holds up nobody who can.
 */
export function admit({ waiting, open, limits, obstacleAt }: AdmissionInput): Admission {
  const now = [...open];
  const admitted: string[] = [];
  const held: { id: string; reason: string }[] = [];
  for (const next of inTurn(waiting, open)) {
    const reason = hindrance(next, now, limits, obstacleAt);
    if (reason === undefined) {
      admitted.push(next.id);
      now.push(next);
    } else {
      held.push({ id: next.id, reason });
    }
  }
  return { admitted, held };
}

/** A source's turn is how many of its moves go before: those that are open, and the older ones of the same priority. */
function inTurn(waiting: readonly Waiting[], open: readonly Open[]): Waiting[] {
  const byAge = [...waiting].sort((a, b) => b.priority - a.priority || older(a, b));
  const turns = new Map<string, number>();
  const queued = byAge.map((migration) => {
    const { priority, sourceNode } = migration;
    const key = `${String(priority)} ${sourceNode}`;
    const turn = turns.get(key) ?? open.filter((other) => other.sourceNode === sourceNode).length;
    turns.set(key, turn + 1);
    return { migration, turn };
  });
  return queued
    .sort((a, b) => b.migration.priority - a.migration.priority || a.turn - b.turn || older(a.migration, b.migration))
    .map(({ migration }) => migration);
}

function older(a: Waiting, b: Waiting): number {
  return a.id < b.id ? -1 : 1;
}

function hindrance(
  { vmId, sourceNode, targetNode }: Waiting,
  open: readonly Open[],
  { perCluster, outPerNode, inPerNode }: Limits,
  obstacleAt: AdmissionInput['obstacleAt'],
): string | undefined {
  if (open.length >= perCluster) return `the cluster moves ${String(open.length)} VMs, which is its limit`;
  if (open.some((other) => other.vmId === vmId)) return 'an earlier migration of this VM is open';
  const leaving = open.filter((other) => other.sourceNode === sourceNode).length;
  if (leaving >= outPerNode) return `${String(leaving)} VMs leave ${sourceNode}, which is its limit`;
  const coming = open.filter((other) => other.targetNode === targetNode).length;
  if (coming >= inPerNode) return `${String(coming)} VMs come to ${targetNode}, which is its limit`;
  return obstacleAt(sourceNode) ?? obstacleAt(targetNode);
}
