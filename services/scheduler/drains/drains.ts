// SPDX-License-Identifier: Apache-2.0
import { Drain, DrainState, NodeMode, type CreateDrainRequest, type DrainBlocker } from '@lockstep/sdk/v1';
import { invalidField, LockstepError } from '../../core/errors/catalogue.js';
import { explain } from '../../core/placement/place.js';
import { drainCodec, type Stored } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { LostTransaction, retryLost } from '../../membership/ledger.js';
import { checkRequestId, earlierResult, noteRequest } from '../../membership/requests.js';
import { checkNamedNode, decide } from '../nodes/choose.js';
import { nodeModeStep } from '../nodes/mode.js';
import type { Leading } from '../term.js';
import { hasEnded, openDrainOf } from './history.js';
import { writeDrain } from './drain-watch.js';

const DRAINS = { prefix: keys.drains, codec: drainCodec };

/** Cordons a node and begins to empty it; with `validate_only` only says which VMs could not leave. */
export async function createDrain(leading: Leading, request: CreateDrainRequest): Promise<Drain> {
  checkRequestId(request.requestId);
  const earlier = await earlierResult(leading.env, request.requestId, DRAINS);
  if (earlier !== undefined) return earlier;
  if (request.node === '') throw invalidField('node', 'nothing', 'the name of a node');
  checkNamedNode(leading, request.node, 'node');
  if (request.validateOnly) return plan(leading, request, blockersOf(leading, request.node));
  return await retryLost(leading.env, () => write(leading, request));
}

async function write(leading: Leading, request: CreateDrainRequest): Promise<Drain> {
  const open = openDrainOf(leading, request.node);
  if (open !== undefined) {
    const message = `${request.node} is being drained already, by ${open.id}`;
    throw new LockstepError('NODE_DRAINING', message, { node: request.node, drain: open.id });
  }
  const drain = plan(leading, request, []);
  const cordon = await nodeModeStep(leading, request.node, (mode) =>
    mode === NodeMode.MAINTENANCE ? mode : NodeMode.CORDONED,
  );
  try {
    const index = await leading.ledger.write([
      { op: 'cas', key: keys.drain(drain.id), value: drainCodec.encode(drain), index: 0n },
      cordon,
      ...noteRequest(request.requestId, keys.drain(drain.id)),
    ]);
    const record = { ...drain, etag: index.toString() };
    leading.drains.put(drain.id, { record, index });
    return record;
  } catch (error) {
    const repeated = error instanceof LostTransaction ? await earlierResult(leading.env, request.requestId, DRAINS) : undefined;
    if (repeated === undefined) throw error;
    return repeated;
  }
}

function plan(leading: Leading, { node, requestId }: CreateDrainRequest, blockers: DrainBlocker[]): Drain {
  return Drain.create({
    id: leading.env.random.uuid(),
    node,
    state: DrainState.PLANNED,
    detail: 'just asked for',
    blockers,
    requestId,
    createTime: leading.env.clock.wallTime(),
  });
}

/** VMs of a node that no other node could take now. */
function blockersOf(leading: Leading, node: string): DrainBlocker[] {
  return leading.vms.all().flatMap(({ record }): DrainBlocker[] => {
    if (record.placement?.node !== node || record.spec === undefined) return [];
    const decision = decide(leading, record.spec, { vmId: record.id, source: node });
    return decision.node === undefined ? [{ vmId: record.id, reason: 'NO_TARGET', detail: explain(decision) }] : [];
  });
}

/** Calls a drain off, at once. The node stays cordoned, and what has moved stays away, until the node is made ready. */
export async function cancelDrain(leading: Leading, id: string): Promise<Drain> {
  return await retryLost(leading.env, async () => {
    const stored = findDrain(leading, id);
    const { state, node } = stored.record;
    if (state === DrainState.CANCELLED) return stored.record;
    if (hasEnded(stored.record)) {
      throw new LockstepError('DRAIN_ENDED', `drain ${id} of ${node} has ended: ${stored.record.detail}`, { drain: id, node });
    }
    return await writeDrain(leading, stored, {
      state: DrainState.CANCELLED,
      reason: 'CANCELLED',
      detail: `cancelled by request; ${node} stays cordoned until it is made ready`,
      blockers: [],
    });
  });
}

/** Fails with DRAIN_NOT_FOUND. */
export function findDrain(leading: Leading, id: string): Stored<Drain> {
  const stored = leading.drains.get(id);
  if (stored !== undefined) return stored;
  throw new LockstepError('DRAIN_NOT_FOUND', `there is no drain ${id === '' ? '(no id given)' : id}`, { drain: id });
}
