// SPDX-License-Identifier: Apache-2.0
import {
  CompletionMethod,
  EventSeverity,
  MigrationMode,
  MigrationState,
  type Migration,
  type ResolveMigrationRequest,
} from '@lockstep/sdk/v1';
import { invalidField, LockstepError } from '../../core/errors/catalogue.js';
import { admit, type Limits } from '../../core/migration/admission.js';
import { isCancellable, isTerminal } from '../../core/migration/transitions.js';
import { subjects } from '../../membership/events.js';
import { sleep, withDeadline } from '../../platform/clock/clock.js';
import type { Leading } from '../term.js';
import { Attempt } from './attempt.js';
import { Journal, stateName } from './journal.js';
import { runLockstep } from './lockstep.js';
import { wordOf } from './persons-word.js';
import { settle } from './settle.js';
import { runShutdownMove } from './shutdown-move.js';
import { notTransferring, pauseForTransfer, switchToPostCopy } from './transfer.js';

/** Until a migration that could not even be settled is looked at again. */
const PAUSE_AFTER_TROUBLE_MS = 5_000;
/** Both ends are asked anew before a person's word counts. */
const WORD_TAKEN_LIMIT_MS = 60_000;

/**
 * All open migrations of this term: those that wait, in order and within bounds, and those in hand. Built anew by every
 * leader from the records: what was open is settled, what waited waits on.
 */
export class MigrationQueue {
  private readonly attempts = new Map<string, Attempt>();
  private readonly waiting = new Map<string, string>();
  private readonly journal: Journal;
  private readonly listeners = new Set<(id: string) => void>();

  constructor(
    private readonly leading: Leading,
    private readonly limits: () => Limits,
  ) {
    this.journal = new Journal(leading);
  }

  /** Takes up what earlier leaders left, then admits what waits whenever something changed. */
  start(): void {
    for (const { record } of this.leading.migrations.all()) {
      if (isTerminal(record.state) || record.state === MigrationState.PENDING) continue;
      void this.run(record.id, settle);
    }
    this.leading.migrations.onChange(() => {
      this.admit();
    });
    this.leading.nodes.onChange(() => {
      for (const attempt of this.attempts.values()) attempt.heedProofs();
      this.admit();
    });
    this.admit();
  }

  /** The record with what only this leader knows of it: progress, steps not journalled yet, the reason of waiting. */
  live(record: Migration): Migration {
    const attempt = this.attempts.get(record.id);
    if (attempt === undefined) return { ...record, waitingReason: this.waiting.get(record.id) ?? record.waitingReason };
    if (isTerminal(record.state)) return record;
    return { ...record, progress: attempt.progress, phases: [...attempt.phases] };
  }

  /** Live figures of a migration changed. Returns a function that ends the listening. */
  onLive(listener: (id: string) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  /** Calls a migration off; resolves once the wish is durable. What is refused changes nothing. */
  async cancel(id: string): Promise<Migration> {
    this.stop(this.journal.read(id).migration.record);
    // It may have gone on while this write waited for its turn: what holds then decides.
    const { migration } = await this.journal.write(id, ({ migration: { record } }) => {
      this.stop(record);
      if (record.state !== MigrationState.PENDING || this.attempts.has(id)) return { migration: { cancelRequested: true } };
      const detail = `cancelled while it waited; the guest was not touched on ${record.sourceNode}`;
      return { migration: { cancelRequested: true, state: MigrationState.ABORTED, reason: 'CANCELLED', detail } };
    });
    return this.live(migration.record);
  }

  /** Brings a transfer to its end by a person's wish. Resolves once the hypervisor has taken it. */
  async complete(id: string, method: CompletionMethod): Promise<Migration> {
    const { record } = this.journal.read(id).migration;
    refuseEnded(record);
    const attempt = this.attempts.get(id);
    switch (method) {
      case CompletionMethod.PAUSE:
        if (attempt === undefined) throw notTransferring(id);
        await pauseForTransfer(attempt);
        break;
      case CompletionMethod.POST_COPY:
        if (attempt === undefined || record.state !== MigrationState.TRANSFERRING) throw notTransferring(id);
        await switchToPostCopy(attempt);
        break;
      default:
        throw invalidField('method', String(method), 'PAUSE or POST_COPY');
    }
    await this.leading.events.emit({
      severity: EventSeverity.INFO,
      reason: 'MIGRATION_COMPLETION_ASKED',
      message: `migration ${id}: a person had it completed by ${method === CompletionMethod.PAUSE ? 'a pause' : 'post-copy'}`,
      subject: subjects.vm(record.vmId),
      actor: 'operator',
    });
    return this.live(this.journal.read(id).migration.record);
  }

  /** Settles what the facts leave open by a person's word; resolves once it was held against newer facts and taken. */
  async resolve(request: ResolveMigrationRequest): Promise<Migration> {
    const { record } = this.journal.read(request.id).migration;
    refuseEnded(record);
    const word = wordOf(record, request);
    const attempt = this.attempts.get(record.id);
    if (attempt === undefined) throw new LockstepError('STORE_CONFLICT', 'it is in nobody\'s hands at this moment; ask again');
    attempt.hear(word);
    const wait = { what: 'newer facts', limitMs: WORD_TAKEN_LIMIT_MS };
    await withDeadline(this.leading.env.clock, wait, () => word.taken);
    return this.live(this.journal.read(record.id).migration.record);
  }

  /** Sends a migration back. Fails where it has ended, and where an order that cannot be taken back was given. */
  private stop(record: Migration): void {
    refuseEnded(record);
    const { id, state, postCopy } = record;
    const stopped = isCancellable(state) && !postCopy && (this.attempts.get(id)?.giveUpLive('CANCELLED', 'cancelled by request') ?? true);
    if (stopped) return;
    const shutdown = state === MigrationState.SHUTTING_DOWN || state === MigrationState.STARTING;
    const told = shutdown ? 'the guest was told to shut down' : 'the target was told to take over';
    throw new LockstepError('PAST_POINT_OF_NO_RETURN', `migration ${id}: ${told}`, { migration: id });
  }

  private admit(): void {
    if (this.leading.term.ended.aborted) return;
    const pending = this.leading.migrations
      .all()
      .map(({ record }) => record)
      .filter(({ id, state }) => state === MigrationState.PENDING && !this.attempts.has(id));
    const { admitted, held } = admit({
      waiting: pending,
      open: this.open(),
      limits: this.limits(),
      obstacleAt: (node) =>
        this.leading.nodes.node(node)?.connected === true ? undefined : `the agent of ${node} does not answer`,
    });
    this.hold(held);
    for (const record of pending.filter(({ id }) => admitted.includes(id))) void this.run(record.id, storyOf(record));
  }

  /** Says of each that waits which place it has and what for. */
  private hold(held: readonly { id: string; reason: string }[]): void {
    const before = new Map(this.waiting);
    this.waiting.clear();
    held.forEach(({ id, reason }, place) => {
      this.waiting.set(id, `${String(place + 1)} in the queue: ${reason}`);
    });
    for (const [id, reason] of this.waiting) if (before.get(id) !== reason) this.tell(id);
  }

  private tell(id: string): void {
    for (const listener of this.listeners) listener(id);
  }

  private open(): Migration[] {
    return this.leading.migrations
      .all()
      .map(({ record }) => record)
      .filter(({ id, state }) => !isTerminal(state) && (state !== MigrationState.PENDING || this.attempts.has(id)));
  }

  /** Has a migration in hand until it is closed or this leader is none any more. */
  private async run(id: string, how: (attempt: Attempt) => Promise<void>): Promise<void> {
    if (this.attempts.has(id)) return;
    const attempt = new Attempt(this.leading, this.journal, id, () => {
      this.tell(id);
    });
    this.attempts.set(id, attempt);
    this.waiting.delete(id);
    try {
      await this.leading.env.points('scheduler/taken-up');
      await how(attempt);
    } catch (error) {
      attempt.blame(error);
      await this.afterTrouble(attempt);
    } finally {
      this.attempts.delete(id);
      this.admit();
    }
  }

  /**
   * Stays in hand until it is closed. What looks unopened may have been opened by a write whose outcome nobody told, so
   * every round begins from the newest record.
   */
  private async afterTrouble(attempt: Attempt): Promise<void> {
    const { env, term } = this.leading;
    while (!term.ended.aborted) {
      try {
        const { record } = attempt.open().migration;
        if (record.state === MigrationState.PENDING) await this.refuse(attempt);
        else await settle(attempt);
        if (isTerminal(attempt.open().migration.record.state)) return;
      } catch (error) {
        attempt.log.error('cannot be settled now', { error });
      }
      // Also where this leader was told that it leads no more, until it knows that itself.
      await sleep(env.clock, PAUSE_AFTER_TROUBLE_MS, term.ended).catch(() => undefined);
    }
  }

  /** It could not even be opened: nothing was touched. */
  private async refuse(attempt: Attempt): Promise<void> {
    const { cause } = attempt;
    await this.journal.write(attempt.id, ({ migration: { record } }) => {
      // The opening's outcome may not have been told: what is opened is settled, in the next round.
      if (record.state !== MigrationState.PENDING) throw new LockstepError('STORE_CONFLICT', 'it was opened after all');
      const detail = `${cause?.detail ?? 'not begun'}; the guest was not touched on ${record.sourceNode}`;
      return { migration: { state: MigrationState.ABORTED, reason: cause?.reason ?? 'INTERNAL', detail } };
    });
  }
}

function refuseEnded({ id, state }: Migration): void {
  if (!isTerminal(state)) return;
  const name = stateName(state);
  throw new LockstepError('MIGRATION_ENDED', `migration ${id} has ended: ${name}`, { migration: id, state: name });
}

/** A migration that may go live begins so; whether it falls back is seen when the live attempt was undone. */
function storyOf({ modeRequested }: Migration): (attempt: Attempt) => Promise<void> {
  return modeRequested === MigrationMode.SHUTDOWN ? runShutdownMove : runLockstep;
}
