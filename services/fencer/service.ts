// SPDX-License-Identifier: Apache-2.0
import { FencerServiceDefinition, type FencerServiceImplementation, type NodeEvidence } from '@lockstep/sdk/v1';
import { invalidField, LockstepError } from '../core/errors/catalogue.js';
import { implement } from '../platform/rpc/implement.js';

/**
 * The Fencer's API as its leader answers it. `evidence` is of all nodes; undefined where this replica does not lead, or
 * has only just begun to.
 */
export function createFencerService(evidence: () => NodeEvidence[] | undefined): FencerServiceImplementation {
  const known = (): NodeEvidence[] => {
    const nodes = evidence();
    if (nodes !== undefined) return nodes;
    throw new LockstepError('NO_LEADER', 'the leader has only just begun and has not read the nodes yet; ask again');
  };
  return implement(FencerServiceDefinition, {
    getEvidence: ({ node }) => {
      if (node === '') return Promise.reject(invalidField('node', 'nothing', 'the name of a node'));
      return answer(() => {
        const found = known().find((each) => each.node === node);
        if (found === undefined) throw new LockstepError('NODE_NOT_FOUND', `there is no node ${node}`, { node });
        return { evidence: found };
      });
    },
    listEvidence: () => answer(() => ({ nodes: known() })),
  });
}

/** Throws become rejections. */
async function answer<T>(work: () => T): Promise<T> {
  await Promise.resolve();
  return work();
}
