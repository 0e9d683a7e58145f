// SPDX-License-Identifier: Apache-2.0
import type { MigrationRole} from '@lockstep/sdk/v1';
import { EventSeverity, MigrationState, type Migration, type ResolveMigrationRequest } from '@lockstep/sdk/v1';
import { durationOf } from '../../core/duration.js';
import { invalidField, LockstepError } from '../../core/errors/catalogue.js';
import type { MigrationFacts, RecoveryAction } from '../../core/migration/recovery.js';
import { resolve, type PersonsWord, type Resolution } from '../../core/migration/resolve.js';
import { subjects } from '../../membership/events.js';
import type { Attempt } from './attempt.js';

const LONGEST_REASON = 500;
const STOP_DEADLINE_MS = 90_000;

/** A person's word on its way to the one who settles the migration, who takes it with the next facts. */
export class Word {
  readonly taken: Promise<void>;
  #accept: () => void = () => undefined;
  #refuse: (error: Error) => void = () => undefined;

  constructor(
    readonly said: PersonsWord,
    readonly sentence: string,
  ) {
    this.taken = new Promise((resolveTaken, reject) => {
      this.#accept = resolveTaken;
      this.#refuse = reject;
    });
    // Whoever brought it may be gone.
    this.taken.catch(() => undefined);
  }

  accept(): void {
    this.#accept();
  }

  refuse(error: Error): void {
    this.#refuse(error);
  }
}

/** Reads what a person says of a migration. Fails where it is not UNCERTAIN, or the node is none of its ends. */
export function wordOf(migration: Migration, { node, reason }: ResolveMigrationRequest): Word {
  const { id, sourceNode, targetNode, state } = migration;
  if (state !== MigrationState.UNCERTAIN) {
    throw new LockstepError('NOT_UNCERTAIN', `migration ${id} is settled without a person's word`, { migration: id });
  }
  if (reason.trim() === '' || reason.length > LONGEST_REASON) {
    throw invalidField('reason', `${String(reason.length)} characters`, `why, in 1 to ${String(LONGEST_REASON)} characters`);
  }
  if (node === '') return new Word('none', `it is on no node: ${reason}`);
  if (node !== sourceNode && node !== targetNode) {
    throw invalidField('node', node, `${sourceNode}, ${targetNode}, or nothing where it is on neither`);
  }
  return new Word(node === sourceNode ? 'source' : 'target', `it is on ${node}: ${reason}`);
}

/** Holds a person's word against the facts that were just told; undefined: it was refused, and the facts stand. */
export async function takeWord(attempt: Attempt, facts: MigrationFacts, action: RecoveryAction): Promise<Resolution | undefined> {
  const { word } = attempt;
  if (word === undefined) return undefined;
  attempt.word = undefined;
  if (!waits(action)) {
    word.refuse(new LockstepError('NOT_UNCERTAIN', `migration ${attempt.id} is settled by new facts (${action})`, { migration: attempt.id }));
    return undefined;
  }
  const answer = resolve(facts, word.said);
  if ('refused' in answer) {
    word.refuse(new LockstepError('FACTS_CONTRADICT', `migration ${attempt.id}: ${answer.refused}`, { migration: attempt.id }));
    return undefined;
  }
  const detail = `a person said that ${word.sentence}`;
  const { vmId } = attempt.open().migration.record;
  const happening = {
    severity: EventSeverity.WARNING,
    reason: 'MIGRATION_RESOLVED',
    message: `migration ${attempt.id}: ${detail}; done: ${answer.allowed}`,
    subject: subjects.vm(vmId),
    actor: 'operator',
  };
  await attempt.journal.write(attempt.id, () => ({ migration: { detail }, events: [happening] }));
  attempt.cause = { reason: 'FACTS_MISSING', detail };
  word.accept();
  return answer.allowed;
}

function waits(action: RecoveryAction): boolean {
  return action === 'WAIT' || action === 'FENCE' || action === 'STOP_UNENTITLED' || action === 'ALERT';
}

/** Ends the copy that a person said is not the guest, at once; its node gives it up. */
export async function stopCopy(attempt: Attempt, role: MigrationRole): Promise<void> {
  const { client, header } = attempt.agent(role);
  attempt.log.error(`two copies run; by a person's word the one on ${attempt.nodeOf(role)} is stopped`);
  await client.stopVm(
    { header, order: attempt.order(role), shutdownLimit: durationOf(0) },
    { deadlineMs: STOP_DEADLINE_MS, signal: attempt.leading.term.ended },
  );
}
