// SPDX-License-Identifier: Apache-2.0
import { keys } from '../../core/records/keys.js';
import type { TxnOp } from '../../platform/store/store.js';
import type { Leading } from '../term.js';

/** That a host is off: what the Fencer wrote into its record, which the node's next joining clears. */
export interface Proof {
  node: string;
  /** The fence action that proved it. */
  fenceActionId: string;
  /** The life of the agent that it is about. */
  incarnation: bigint;
  /** Holds as long as the proof does; goes into every transaction that counts this host as off (INV-3). */
  holds: TxnOp;
}

/** The proof that this host is off; undefined: there is none. */
export function proofOf({ nodes }: Pick<Leading, 'nodes'>, node: string): Proof | undefined {
  const view = nodes.node(node);
  if (view === undefined || view.record.fencedBy === '') return undefined;
  return {
    node,
    fenceActionId: view.record.fencedBy,
    incarnation: view.record.incarnation,
    holds: { op: 'check', key: keys.node(node), index: view.recordIndex },
  };
}

/** Waits for `ms`, and no longer than until one of these nodes is proven off or answers again, or the term ends. Never rejects. */
export function pauseUntilNews({ env, nodes, term }: Leading, names: readonly string[], ms: number): Promise<void> {
  const before = new Map(names.map((name) => [name, newsOf({ nodes }, name)]));
  const hasNews = (name: string): boolean => {
    const { proven, answers } = newsOf({ nodes }, name);
    const known = before.get(name);
    // One that goes silent is no news: the question was asked of it just now.
    return (proven && known?.proven !== true) || (answers !== undefined && answers !== known?.answers);
  };
  return new Promise((resolve) => {
    const end = (): void => {
      timer.stop();
      unlisten();
      term.ended.removeEventListener('abort', end);
      resolve();
    };
    const timer = env.clock.after(ms, end);
    const unlisten = nodes.onChange(() => {
      if (names.some(hasNews)) end();
    });
    term.ended.addEventListener('abort', end, { once: true });
    if (term.ended.aborted) end();
  });
}

/** `answers`: the life of the agent that can be asked now, with its hypervisor; undefined: it cannot. */
function newsOf({ nodes }: Pick<Leading, 'nodes'>, name: string): { proven: boolean; answers: bigint | undefined } {
  const view = nodes.node(name);
  const ready = view?.connected === true && view.report?.node.ready === true;
  return { proven: proofOf({ nodes }, name) !== undefined, answers: ready ? view.record.incarnation : undefined };
}
