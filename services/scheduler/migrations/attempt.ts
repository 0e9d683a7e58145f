// SPDX-License-Identifier: Apache-2.0
import type {
  MigrationStep} from '@lockstep/sdk/v1';
import {
  MigrationRole,
  type MigrationOutcome,
  type MigrationPhase,
  type MigrationProgress,
  type VmOrder,
} from '@lockstep/sdk/v1';
import { durationOf } from '../../core/duration.js';
import { LockstepError, type Reason } from '../../core/errors/catalogue.js';
import { pointAfterStep } from '../../core/migration/points.js';
import { Cancelled, DeadlineExceeded } from '../../platform/clock/clock.js';
import type { Logger } from '../../platform/log/log.js';
import type { Agent } from '../orders.js';
import { proofOf, type Proof } from '../recovery/proof.js';
import type { Leading } from '../term.js';
import type { Journal, OpenMigration } from './journal.js';
import type { Word } from './persons-word.js';

/** What has been told to the target so far; past `sent` nothing can be cancelled. */
type CommitState = 'not-sent' | 'sent' | 'done';

/** One migration in this leader's hands, from its opening to its close: what is known beside the journal. */
export class Attempt {
  /** Set synchronously before Commit(target) is sent, so that a cancel and the commit cannot both win. */
  commit: CommitState = 'not-sent';
  cancelRequested = false;
  /** The switch to post-copy was decided, by this leader or an earlier one: there is no way back but over the table. */
  postCopy: boolean;
  /** This leader heard the source say that all memory was sent. */
  endHeard = false;
  /** For Commit(target); empty where the end was not heard with it. */
  endCookie: Uint8Array = new Uint8Array();
  /** For Commit(source). */
  commitCookie: Uint8Array = new Uint8Array();
  /** Not journalled yet; goes with the next write, so that the gap holds none. */
  readonly phases: MigrationPhase[];
  progress: MigrationProgress | undefined;
  /** When Prepare(source) was begun, and when the end of the transfer was heard, by this process's monotonic clock. */
  startedAtMs: number | undefined;
  endHeardAtMs: number | undefined;
  /** What is measured so far; goes into the record with the placement. */
  outcome: Partial<MigrationOutcome> = {};
  /** Why the lockstep was left; undefined while it goes as it should. */
  cause: { reason: Reason; detail: string } | undefined;
  /** What a person said of it, until it is taken; see {@link hear}. */
  word: Word | undefined;
  #wake: () => void = () => undefined;
  /** Aborts when the attempt shall stop what it waits for and go back. */
  interrupted = new AbortController();
  readonly log: Logger;
  private readonly agents = new Map<string, Agent>();

  constructor(
    readonly leading: Leading,
    readonly journal: Journal,
    readonly id: string,
    /** Tells watchers that live figures changed. */
    readonly tell: () => void,
  ) {
    this.phases = [...this.open().migration.record.phases];
    this.postCopy = this.open().migration.record.postCopy;
    this.log = leading.env.log.child(`migration/${id}`);
  }

  open(): OpenMigration {
    return this.journal.read(this.id);
  }

  /**
   * The agent of one end as it joined last. After the term's end nodes are not followed any more, and what was known
   * last serves: a transfer that was opened in the term may still be committed, as the agents check the epoch.
   */
  agent(role: MigrationRole): Agent {
    const name = this.nodeOf(role);
    const known = this.agents.get(name);
    if (known !== undefined && this.leading.term.ended.aborted) return known;
    const agent = this.leading.orders.agent(name);
    this.agents.set(name, agent);
    return agent;
  }

  nodeOf(role: MigrationRole): string {
    const { sourceNode, targetNode } = this.open().migration.record;
    return role === MigrationRole.SOURCE ? sourceNode : targetNode;
  }

  /** The proof that one end's host is off; undefined: it may run, whether or not it answers. */
  offProof(role: MigrationRole): Proof | undefined {
    return proofOf(this.leading, this.nodeOf(role));
  }

  /** The copy an order is about: the one that moves, or the one that is built. */
  order(role: MigrationRole): VmOrder {
    const { vmId, placementEpoch, sourcePlacementEpoch } = this.open().migration.record;
    return {
      vmId,
      placementEpoch: role === MigrationRole.SOURCE ? sourcePlacementEpoch : placementEpoch,
      migrationId: this.id,
    };
  }

  /** Does one step and notes when it began, when it ended and what came of it. */
  async step<T>(
    step: MigrationStep,
    side: MigrationRole,
    work: () => Promise<T>,
    tellOf: (result: T) => string = () => '',
  ): Promise<T> {
    const { clock } = this.leading.env;
    const startMs = clock.nowMs();
    const begun: MigrationPhase = {
      step,
      side,
      startTime: clock.wallTime(),
      endTime: undefined,
      duration: undefined,
      detail: '',
      ok: false,
    };
    this.phases.push(begun);
    const close = (ok: boolean, detail: string): void => {
      const ended = { ...begun, ok, detail, endTime: clock.wallTime(), duration: durationOf(clock.nowMs() - startMs) };
      if (!ok) this.forgetSameFailure(ended);
      this.phases[this.phases.indexOf(begun)] = ended;
      this.tell();
    };
    // Begun first, told afterwards: of Commit(target) the guest waits, and watchers do not.
    const working = (async () => await work())();
    this.tell();
    try {
      const result = await working;
      close(true, tellOf(result));
      const point = pointAfterStep(step);
      if (point !== undefined) await this.leading.env.points(point);
      return result;
    } catch (error) {
      close(false, error instanceof Error ? error.message : String(error));
      throw error;
    }
  }

  /** What fails the same way again and again is kept once, the last time: the record must not grow with every try. */
  private forgetSameFailure({ step, side, detail }: MigrationPhase): void {
    const same = this.phases.findIndex(
      (one) => one.endTime !== undefined && !one.ok && one.step === step && one.side === side && one.detail === detail,
    );
    if (same !== -1) this.phases.splice(same, 1);
  }

  /** Ends the waiting and sends the guest back, unless the target was told to take over already. */
  giveUpLive(reason: Reason, detail: string): boolean {
    if (this.commit !== 'not-sent' || this.postCopy) return false;
    this.cause ??= { reason, detail };
    this.cancelRequested = true;
    this.interrupted.abort(new LockstepError(reason, detail));
    return true;
  }

  /** A host without power closes no connection: what waits for one that is proven off is ended and settled. */
  heedProofs(): void {
    const off = this.offProof(MigrationRole.SOURCE) ?? this.offProof(MigrationRole.TARGET);
    if (off === undefined) return;
    const detail = `${off.node} is proven off`;
    if (this.giveUpLive('HOST_OFF', detail) || !this.postCopy || this.commit === 'done') return;
    // There is no way back to send it, but nothing more comes from there either: the table decides.
    this.cause ??= { reason: 'HOST_OFF', detail };
    const waiting = this.interrupted;
    this.interrupted = new AbortController();
    waiting.abort(new LockstepError('HOST_OFF', detail));
  }

  /** Decides for post-copy, unless the guest is sent back or was told to take over; true also where it was decided before. */
  beginPostCopy(): boolean {
    if (this.commit !== 'not-sent' || this.cancelRequested) return false;
    this.postCopy = true;
    return true;
  }

  /** A person's word, for whoever settles this; the one before it was not taken yet and lapses. */
  hear(word: Word): void {
    this.word?.refuse(new LockstepError('STORE_CONFLICT', 'somebody else has said something since'));
    this.word = word;
    this.#wake();
  }

  /** Resolves when a person has said something. */
  heard(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
      if (this.word !== undefined) resolve();
    });
  }

  /** There is no way back any more: a wish to stop cannot be granted, and what is waited for now is the end. */
  goForward(): void {
    this.cancelRequested = false;
    this.interrupted = new AbortController();
  }

  /** Keeps the first cause: what comes after it follows from it. */
  blame(error: unknown): void {
    this.cause ??= causeOf(error);
  }
}

export function causeOf(error: unknown): { reason: Reason; detail: string } {
  if (error instanceof LockstepError) return { reason: error.reason, detail: error.message };
  if (error instanceof Cancelled) return { reason: 'CANCELLED', detail: 'cancelled by request' };
  if (error instanceof DeadlineExceeded) return { reason: 'DEADLINE', detail: error.message };
  return { reason: 'INTERNAL', detail: error instanceof Error ? error.message : String(error) };
}
