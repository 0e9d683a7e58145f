// SPDX-License-Identifier: Apache-2.0
import { keys } from '../../core/records/keys.js';
import type { TxnOp } from '../../platform/store/store.js';
import type { Leading } from '../term.js';

/** That a host is off: what the Fencer wrote into its record, which the node's next joining clears. */
export interface Proof {
  node: string;
  /** The fence action that proved it. */
  fenceActionId: string;
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
    holds: { op: 'check', key: keys.node(node), index: view.recordIndex },
  };
}

/** Waits for `ms`, and no longer than until one of these nodes is proven off or the term ends. Never rejects. */
export function pauseUntilProof({ env, nodes, term }: Leading, names: readonly string[], ms: number): Promise<void> {
  const isProven = (name: string): boolean => proofOf({ nodes }, name) !== undefined;
  const open = names.filter((name) => !isProven(name));
  return new Promise((resolve) => {
    const end = (): void => {
      timer.stop();
      unlisten();
      term.ended.removeEventListener('abort', end);
      resolve();
    };
    const timer = env.clock.after(ms, end);
    const unlisten = nodes.onChange(() => {
      if (open.some(isProven)) end();
    });
    term.ended.addEventListener('abort', end, { once: true });
    if (term.ended.aborted) end();
  });
}
