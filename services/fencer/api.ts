// SPDX-License-Identifier: Apache-2.0
import {
  DisarmMode,
  EventSeverity,
  FenceActionState,
  FencerServiceDefinition,
  WatchFenceActionsResponse,
  type FenceAction,
  type FencerServiceImplementation,
  type NodeEvidence,
} from '@lockstep/sdk/v1';
import { invalidField, LockstepError } from '../core/errors/catalogue.js';
import { ATTEMPTS } from '../core/fencing/ladder.js';
import { isFenceEnded } from '../core/fencing/transitions.js';
import { fenceActionCodec, type Stored } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import type { NodeView } from '../membership/node-streams.js';
import { pageOf } from '../membership/pages.js';
import { checkRequestId, earlierResult } from '../membership/requests.js';
import { indexOfToken, tokenOf } from '../membership/resume-token.js';
import { watchMessages, type WatchSource } from '../membership/watch.js';
import type { Env } from '../platform/env.js';
import { callerOf } from '../platform/rpc/caller.js';
import { implement } from '../platform/rpc/implement.js';
import { about, type FenceJournal } from './actions/journal.js';
import { disarmed, setArming } from './arming.js';
import type { Drills } from './drills/drills.js';
import { refuseWhileCycled } from './drills/preconditions.js';
import type { FencerLeading } from './leading.js';

/** What its watches' tokens begin with. */
const KIND = 'fence-actions';

/** Where the leading replica's work lies. */
export interface FencerDesk {
  leading: FencerLeading;
  journal: FenceJournal;
  drills: Drills;
}

const FENCE_ACTIONS = { prefix: keys.fenceActions, codec: fenceActionCodec };

/** The Fencer's API as its leader answers it; `desk` is undefined where this replica does not lead, or only just begins to. */
export function createFencerApi(env: Env, desk: () => FencerDesk | undefined): FencerServiceImplementation {
  const led = (): FencerDesk => {
    const now = desk();
    if (now?.leading.streams.loaded() === true) return now;
    throw new LockstepError('NO_LEADER', 'the leader has only just begun and has not read the nodes yet; ask again');
  };
  const evidence = (): NodeEvidence[] => led().leading.judging.evidence() ?? [];

  return implement(FencerServiceDefinition, {
    getEvidence: async ({ node }) => {
      wantName(node);
      const found = (await answer(evidence)).find((each) => each.node === node);
      if (found === undefined) throw noSuchNode(node);
      return { evidence: found };
    },
    listEvidence: () => answer(() => ({ nodes: evidence() })),

    async createFenceAction(request, context) {
      wantReason(request.reason);
      const desk = led();
      const ask = () => requestAction(desk, request, callerOf(context).name);
      return { fenceAction: await desk.leading.turns.inTurn(request.requestId, ask) };
    },
    getFenceAction: ({ id }) => answer(() => ({ fenceAction: found(led(), id) })),
    listFenceActions: (page) =>
      answer(() => {
        const { items, nextPageToken } = pageOf(led().journal.all().sort(newestFirst), ({ id }) => id, page);
        return { fenceActions: items, nextPageToken };
      }),
    async *watchFenceActions({ resumeToken }, { signal }) {
      const { leading } = led();
      const from = indexOfToken(KIND, resumeToken, {
        prunedUpTo: leading.prunedUpTo.get(KIND) ?? 0n,
        complete: leading.actions.completeIndex,
      });
      const options = { signals: [signal, leading.term.ended], from };
      for await (const { snapshot, changed, gone, index } of watchMessages(env.clock, source(leading), options)) {
        yield WatchFenceActionsResponse.create({ snapshot, changed, gone, resumeToken: tokenOf(KIND, index) });
      }
    },
    async releaseFenceAction({ id, reason }, context) {
      wantReason(reason);
      return { fenceAction: await release(led(), id, { reason, by: callerOf(context).name }) };
    },
    async acknowledgeDead({ node, confirmNode, reason }, context) {
      wantReason(reason);
      if (confirmNode !== node) throw invalidField('confirm_node', `"${confirmNode}"`, `the node's name again, "${node}"`);
      return { fenceAction: await acknowledge(led(), node, { reason, by: callerOf(context).name }) };
    },
    async testFencing({ node, powerCycle }, context) {
      const { drills } = led();
      nodeOf(led(), node);
      return await drills.test(node, { powerCycle, by: callerOf(context).name });
    },
    async arm(_request, context) {
      const by = callerOf(context).name;
      return { arming: await setArming(led().leading, { mode: DisarmMode.UNSPECIFIED, reason: '', by }) };
    },
    async disarm({ mode, reason }, context) {
      wantReason(reason);
      if (mode === DisarmMode.UNSPECIFIED) throw invalidField('mode', 'nothing', 'FREEZE or IGNORE');
      return { arming: await setArming(led().leading, { mode, reason, by: callerOf(context).name }) };
    },
  });
}

/** Throws become rejections. */
async function answer<T>(work: () => T): Promise<T> {
  await Promise.resolve();
  return work();
}

/** A person asks. Repeating the request, and asking for a node that is being fenced already, gives the action there is. */
async function requestAction(
  desk: FencerDesk,
  { requestId, node, reason }: { requestId: string; node: string; reason: string },
  by: string,
): Promise<FenceAction> {
  checkRequestId(requestId);
  const { leading, journal } = desk;
  const earlier = await earlierResult(leading.env, requestId, FENCE_ACTIONS);
  if (earlier !== undefined) return earlier;
  const { record, recordIndex: nodeIndex } = nodeOf(desk, node);
  const stop = disarmed(leading);
  if (stop !== undefined) {
    throw new LockstepError('FENCER_DISARMED', `the Fencer is disarmed by ${stop.by}: ${stop.reason}`, { node });
  }
  refuseWhileCycled(leading, node);
  const open = journal.openOf(node);
  if (open !== undefined) {
    throw new LockstepError('FENCE_ACTION_OPEN', `${node} is being fenced already`, { node, fence_action: open.id });
  }
  const asked = { reason: 'FENCE_REQUESTED', requestReason: reason, requestedBy: by, requestId } as const;
  return await journal.create({ node: record, nodeIndex, automatic: false, ...asked });
}

/** A person lets a held action go on. Of one that goes on already it says how it stands. */
async function release(desk: FencerDesk, id: string, { reason, by }: { reason: string; by: string }): Promise<FenceAction> {
  const action = found(desk, id);
  if (action.state !== FenceActionState.HELD) {
    if (action.released !== '' && !isFenceEnded(action.state)) return action;
    throw new LockstepError('FENCE_ACTION_NOT_HELD', `the brake does not hold fence action ${id}`, { fence_action: id });
  }
  const released = await desk.journal.change(id, (now) => ({
    ...now,
    ...{ state: FenceActionState.REQUESTED, released: `${by}: ${reason}`, detail: 'released from the brake' },
  }));
  const message = `fencing ${action.node} was released from the brake: ${reason}`;
  await desk.leading.tell({ ...about(action), severity: EventSeverity.WARNING, reason: 'FENCE_RELEASED', message, actor: by });
  return released;
}

/** A person's word is a proof like any other, and is kept as one. Refused where the node's agent is heard. */
async function acknowledge(desk: FencerDesk, node: string, { reason, by }: { reason: string; by: string }): Promise<FenceAction> {
  const { leading, journal } = desk;
  const { record, recordIndex: nodeIndex } = nodeOf(desk, node);
  refuseWhileCycled(leading, node);
  const signs = leading.judging.livesBy(node);
  if (signs.length > 0) {
    throw new LockstepError('NODE_ALIVE', `${node} lives (${signs.join(' and ')}), so it is not off`, { node });
  }
  if (record.fencedBy !== '') {
    const proven = journal.get(record.fencedBy)?.record;
    if (proven !== undefined) return proven;
  }
  const { env, term } = leading;
  const asked = { reason: 'FENCE_REQUESTED', requestReason: reason, requestedBy: by, requestId: '' } as const;
  const open = journal.openOf(node) ?? (await journal.create({ node: record, nodeIndex, automatic: false, ...asked }));
  const said = `${by} says that it is off: ${reason}`;
  return await journal.confirm(open.id, said, {
    ...{ rung: ATTEMPTS.operator, device: '', observer: '', leaderEpoch: term.leaderEpoch, proven: true, detail: said },
    ...{ startTime: env.clock.wallTime(), duration: { seconds: 0n, nanos: 0 } },
  });
}

function found({ journal }: FencerDesk, id: string): FenceAction {
  const stored = journal.get(id);
  if (stored !== undefined) return stored.record;
  const message = `there is no fence action ${id === '' ? '(no id given)' : id}`;
  throw new LockstepError('FENCE_ACTION_NOT_FOUND', message, { fence_action: id });
}

function nodeOf({ leading }: FencerDesk, node: string): NodeView {
  wantName(node);
  const view = leading.streams.node(node);
  if (view === undefined) throw noSuchNode(node);
  return view;
}

const noSuchNode = (node: string): LockstepError => new LockstepError('NODE_NOT_FOUND', `there is no node ${node}`, { node });

function wantName(node: string): void {
  if (node === '') throw invalidField('node', 'nothing', 'the name of a node');
}

const LONGEST_REASON = 500;

function wantReason(reason: string): void {
  if (reason.trim() === '') throw invalidField('reason', 'nothing', 'why, for the record');
  if (reason.length <= LONGEST_REASON) return;
  throw invalidField('reason', `${String(reason.length)} characters`, `at most ${String(LONGEST_REASON)}`);
}

function newestFirst(a: FenceAction, b: FenceAction): number {
  return a.id < b.id ? 1 : -1;
}

function source({ actions }: FencerLeading): WatchSource<FenceAction> {
  const those = (which: (stored: Stored<FenceAction>) => boolean): FenceAction[] =>
    actions.all().filter(which).map(({ record }) => record).sort(newestFirst);
  return {
    all: () => those(() => true),
    look: () => (id) => actions.get(id)?.record,
    subscribe: (changed) => actions.onChange(changed),
    completeIndex: () => actions.completeIndex,
    since: (index) => Promise.resolve({ changed: those((stored) => stored.index > index), gone: [] }),
  };
}
