// SPDX-License-Identifier: Apache-2.0
import { EventSeverity, FenceAction, FenceActionState, type FenceAttempt, type Node } from '@lockstep/sdk/v1';
import { LockstepError, type Reason } from '../../core/errors/catalogue.js';
import { ATTEMPTS, isPowerDeed } from '../../core/fencing/ladder.js';
import { fenceMayFollow, isFenceEnded } from '../../core/fencing/transitions.js';
import { fenceActionCodec, nodeCodec, type Stored } from '../../core/records/codec.js';
import { keys } from '../../core/records/keys.js';
import { subjects } from '../../membership/events.js';
import { readEntry, retryLost } from '../../membership/ledger.js';
import { noteRequest } from '../../membership/requests.js';
import type { TxnOp } from '../../platform/store/store.js';
import type { FencerLeading } from '../leading.js';
import { replaced, tryNow } from './attempts.js';

/** So many attempts a record keeps; of the others only what switched power. */
const MOST_ATTEMPTS = 60;

/** The action is over: there is nothing to be written any more. Whoever asked for it finds at the next try what came of it. */
export class ActionEnded extends LockstepError {
  constructor(message: string) {
    super('STORE_CONFLICT', message);
  }
}

/** Who asks for a fence action, and why. */
export interface Wanted {
  node: Node;
  /** The index of the node's record that this was decided on: one that was marked meanwhile is not fenced again. */
  nodeIndex: bigint;
  automatic: boolean;
  reason: Reason;
  requestReason: string;
  requestedBy: string;
  requestId: string;
}

/** The journal of fence actions: each write is one transaction that checks the leader's session and the record's index. */
export class FenceJournal {
  constructor(private readonly leading: FencerLeading) {}

  get(id: string): Stored<FenceAction> | undefined {
    return this.leading.actions.get(id);
  }

  all(): FenceAction[] {
    return this.leading.actions.all().map(({ record }) => record);
  }

  /** Those that have not ended, oldest first. */
  open(): FenceAction[] {
    return this.all()
      .filter(({ state }) => !isFenceEnded(state))
      .sort((a, b) => (a.id < b.id ? -1 : 1));
  }

  openOf(node: string): FenceAction | undefined {
    return this.open().find((action) => action.node === node);
  }

  #draft({ node, automatic, reason, requestReason, requestedBy, requestId }: Omit<Wanted, 'nodeIndex'>): FenceAction {
    const { env, judging } = this.leading;
    const evidence = judging.evidenceOf(node.name);
    return FenceAction.create({
      id: env.random.uuid(),
      node: node.name,
      incarnation: node.incarnation,
      state: FenceActionState.REQUESTED,
      reason,
      detail: 'just asked for',
      requestedBy,
      requestId,
      createTime: env.clock.wallTime(),
      automatic,
      requestReason,
      // With all but the last test of its ladder, which has a record of its own.
      evidence: evidence === undefined ? undefined : { ...evidence, lastDrill: undefined },
    });
  }

  async create(wanted: Wanted): Promise<FenceAction> {
    const { env, ledger, actions, tell } = this.leading;
    const action = this.#draft(wanted);
    const key = keys.fenceAction(action.id);
    const ops: TxnOp[] = [
      { op: 'cas', key, value: fenceActionCodec.encode(action), index: 0n },
      { op: 'check', key: keys.node(action.node), index: wanted.nodeIndex },
      ...noteRequest(wanted.requestId, key),
    ];
    const index = await ledger.write(ops);
    const record = { ...action, etag: index.toString() };
    actions.put(action.id, { record, index });
    const message = `${action.node} is to be fenced: ${wanted.requestReason}`;
    await env.points('fencer/requested');
    await tell({ ...about(action), severity: EventSeverity.WARNING, reason: wanted.reason, message, actor: wanted.requestedBy });
    return record;
  }

  /** Writes what follows from the action as it is now. Rejects with ActionEnded where it has ended meanwhile. */
  async change(id: string, next: (action: FenceAction) => FenceAction, ops: readonly TxnOp[] = []): Promise<FenceAction> {
    return await retryLost(this.leading.env, async () => {
      const stored = this.leading.actions.get(id);
      if (stored === undefined || isFenceEnded(stored.record.state)) throw new ActionEnded(`fence action ${id} has ended`);
      const after = next(stored.record);
      if (!fenceMayFollow(stored.record.state, after.state)) {
        throw new LockstepError('INTERNAL', `fence action ${id}: ${String(after.state)} cannot follow ${String(stored.record.state)}`);
      }
      return await this.#write(stored, after, ops);
    });
  }

  /** Adds to the record of an action that is confirmed already: what came after the proof. */
  async amend(id: string, next: (action: FenceAction) => FenceAction): Promise<FenceAction> {
    return await retryLost(this.leading.env, async () => {
      const stored = this.leading.actions.get(id);
      if (stored === undefined) throw new ActionEnded(`fence action ${id} is gone`);
      return await this.#write(stored, next(stored.record), []);
    });
  }

  /** Writes that something is about to be tried; the answer says what came of it. */
  async begin(id: string, rung: string, device: string): Promise<(proven: boolean, detail: string) => Promise<FenceAction>> {
    const trying = tryNow(this.leading, rung, device);
    await this.change(id, (action) => ({ ...action, attempts: bounded([...action.attempts, trying.begun]) }));
    return async (proven, detail) => {
      const ended = trying.ended(proven, detail);
      return await this.change(id, (action) => ({ ...action, attempts: replaced(action.attempts, trying, ended) }));
    };
  }

  /**
   * Ends an action with its proof, and marks the node with it in the same transaction: whoever restarts its VMs checks
   * that mark. Refused with ActionEnded where the node joined again: the proof is of the life before.
   */
  async confirm(id: string, proof: string, attempt?: FenceAttempt): Promise<FenceAction> {
    const { env, tell } = this.leading;
    const confirmed = await retryLost(env, async () => {
      const stored = this.leading.actions.get(id);
      if (stored === undefined || isFenceEnded(stored.record.state)) throw new ActionEnded(`fence action ${id} has ended`);
      const { record: action } = stored;
      const node = await this.#nodeOf(action);
      const mark = nodeCodec.encode({ ...node.record, fencedBy: action.id });
      return await this.#write(stored, this.confirmedBy(action, proof, attempt), [
        { op: 'cas', key: keys.node(action.node), value: mark, index: node.index },
      ]);
    });
    await env.points('fencer/confirmed');
    const message = `${confirmed.node} is proven off: ${proof}`;
    await tell({ ...about(confirmed), severity: EventSeverity.WARNING, reason: 'PROVEN_OFF', message });
    return confirmed;
  }

  confirmedBy(action: FenceAction, proof: string, attempt?: FenceAttempt): FenceAction {
    return {
      ...action,
      ...{ state: FenceActionState.CONFIRMED, reason: 'PROVEN_OFF', detail: proof, proof },
      attempts: attempt === undefined ? action.attempts : bounded([...action.attempts, attempt]),
      endTime: this.leading.env.clock.wallTime(),
    };
  }

  /** Ends an action without a proof: called off where nothing was switched, failed otherwise. */
  async end(id: string, reason: Reason, detail: string): Promise<FenceAction> {
    const { env, tell } = this.leading;
    const ended = await this.change(id, (action) => ({
      ...action,
      ...{ state: hasSwitched(action) ? FenceActionState.FAILED : FenceActionState.CANCELLED, reason, detail },
      endTime: env.clock.wallTime(),
    }));
    await tell({ ...about(ended), severity: EventSeverity.INFO, reason, message: `${ended.node}: ${detail}` });
    return ended;
  }

  /** The node's record, which must be of the life that the action is bound to. */
  async #nodeOf(action: FenceAction): Promise<Stored<Node>> {
    const entry = await readEntry(this.leading.env, keys.node(action.node));
    const record = entry === undefined ? undefined : nodeCodec.decode(entry.value, entry.index);
    if (entry !== undefined && record?.incarnation === action.incarnation) return { record, index: entry.index };
    await this.end(action.id, 'JOINED_AGAIN', joinedAgain(action));
    throw new ActionEnded(`${action.node} joined again`);
  }

  async #write({ index: before }: Stored<FenceAction>, after: FenceAction, ops: readonly TxnOp[]): Promise<FenceAction> {
    const { ledger, actions } = this.leading;
    const value = fenceActionCodec.encode(after);
    const index = await ledger.write([{ op: 'cas', key: keys.fenceAction(after.id), value, index: before }, ...ops]);
    const record = { ...after, etag: index.toString() };
    actions.put(after.id, { record, index });
    return record;
  }
}

export const about = ({ node }: FenceAction): { subject: string } => ({ subject: subjects.node(node) });

export function joinedAgain({ node, incarnation }: FenceAction): string {
  return `${node} joined again; incarnation ${String(incarnation)}, which this action is about, is over`;
}

/** Whether the host's power may have been switched. */
export function hasSwitched({ attempts }: Pick<FenceAction, 'attempts'>): boolean {
  return attempts.some(({ rung }) => isPowerDeed(rung));
}

/** Power is switched on at most once, whichever leader meant to. */
export function hasBegunPowerOn({ attempts }: FenceAction): boolean {
  return attempts.some(({ rung }) => rung === ATTEMPTS.powerOn);
}

/** What is tried for ever must not grow for ever: the oldest go, those that switched power last. */
function bounded(attempts: readonly FenceAttempt[]): FenceAttempt[] {
  if (attempts.length <= MOST_ATTEMPTS) return [...attempts];
  const drop = attempts.findIndex(({ rung }) => !isPowerDeed(rung));
  return attempts.filter((_, at) => at !== (drop === -1 ? 1 : drop));
}
