// SPDX-License-Identifier: Apache-2.0
import {
  MigrationMode,
  MigrationRole,
  MigrationState,
  MigrationStep,
  SourceFact,
  TargetFact,
  VmDesired,
  type Migration,
  type VmFacts,
} from '@lockstep/sdk/v1';
import { LockstepError } from '../../core/errors/catalogue.js';
import { rulesOutLive } from '../../core/migration/fallback.js';
import { decide, type MigrationFacts, type RecoveryAction } from '../../core/migration/recovery.js';
import { isTerminal } from '../../core/migration/transitions.js';
import type { Agent } from '../orders.js';
import { pauseUntilNews, type Proof } from '../recovery/proof.js';
import type { Attempt } from './attempt.js';
import type { OpenMigration } from './journal.js';
import { commitSource, completeLockstep, place, unlocked } from './lockstep.js';
import { stopCopy, takeWord } from './persons-word.js';
import { transfer } from './transfer.js';
import { restartCold } from './cold.js';
import { beginsShutdown, continueShutdownMove, obstacleAtTarget } from './shutdown-move.js';

const { SOURCE, TARGET } = MigrationRole;
const SEIZE_DEADLINE_MS = 10_000;
const ABORT_DEADLINE_MS = 60_000;
const FIRST_PAUSE_MS = 500;
const LONGEST_PAUSE_MS = 15_000;

/**
 * The one failure path, for the leader that met the trouble and for its successors alike: seize both ends, decide by the
 * table, act, target first, and again until the record is closed. It goes on for as long as this leader leads: what it
 * cannot settle now waits in UNCERTAIN with its reason, and nothing is guessed (INV-1, INV-3, INV-5).
 */
export async function settle(attempt: Attempt): Promise<void> {
  const { term } = attempt.leading;
  for (let pauseMs = FIRST_PAUSE_MS; !term.ended.aborted; pauseMs = Math.min(pauseMs * 2, LONGEST_PAUSE_MS)) {
    const { record } = attempt.open().migration;
    if (isTerminal(record.state)) return;
    try {
      if (await goOn(attempt, record)) return;
      continue;
    } catch (error) {
      attempt.blame(error);
      attempt.log.warn(`not settled yet: ${error instanceof Error ? error.message : String(error)}`);
      if (error instanceof LockstepError && error.reason === 'NOT_LEADER') return;
    }
    const ends = [attempt.nodeOf(SOURCE), attempt.nodeOf(TARGET)];
    await Promise.race([pauseUntilNews(attempt.leading, ends, pauseMs), attempt.heard()]);
  }
}

/** One round from the record as it stands. True once the migration is closed. */
async function goOn(attempt: Attempt, record: Migration): Promise<boolean> {
  // Decided: the placement names the target, or the target has given up.
  if (record.state === MigrationState.COMMITTING) {
    const off = attempt.offProof(SOURCE);
    if (off === undefined) await commitSource(attempt);
    else await closeWithoutSource(attempt, off);
    return true;
  }
  if (record.state === MigrationState.ABORTING) {
    await releaseSource(attempt);
    return isTerminal(attempt.open().migration.record.state);
  }
  // No live copy is on its way: there is nothing to decide, only the next step.
  if (record.state === MigrationState.SHUTTING_DOWN || record.state === MigrationState.STARTING) {
    await continueShutdownMove(attempt);
    return true;
  }
  const { facts, gone } = await seizeBoth(attempt);
  const action = decide(facts, attempt.cancelRequested || record.cancelRequested);
  attempt.log.info(`facts: source ${nameOfSource(facts.source)}, target ${nameOfTarget(facts.target)}: ${action}`);
  const resolution = await takeWord(attempt, facts, action);
  if (resolution === 'STOP_SOURCE' || resolution === 'STOP_TARGET') {
    // What is left then is told by the facts of the next round.
    await stopCopy(attempt, resolution === 'STOP_SOURCE' ? SOURCE : TARGET);
    return false;
  }
  await act(attempt, resolution ?? action, facts, gone);
  return isTerminal(attempt.open().migration.record.state);
}

async function act(attempt: Attempt, action: RecoveryAction, facts: MigrationFacts, gone: OffEnds): Promise<void> {
  switch (action) {
    case 'BACK':
      await goBack(attempt, facts, gone);
      return;
    case 'WATCH':
      await transfer(attempt, { cookie: new Uint8Array(), migrationUri: '', attachOnly: true });
      await completeLockstep(attempt);
      return;
    case 'FINISH':
      attempt.goForward();
      // The cookie is the source's to repeat; where the source is gone the target finishes without it.
      if (attempt.endCookie.length === 0 && facts.source !== SourceFact.LOST && facts.source !== SourceFact.OFF) {
        await transfer(attempt, { cookie: new Uint8Array(), migrationUri: '', attachOnly: true }).catch(
          (error: unknown) => {
            attempt.log.warn('the source cannot repeat its word', { error });
          },
        );
      }
      await completeLockstep(attempt);
      return;
    case 'FORWARD':
    case 'FORWARD_SOURCE_LATER':
      // The next round has the source let go, or closes without it where it is off.
      await place(attempt);
      return;
    case 'COLD':
      await restartCold(attempt, gone);
      return;
    case 'STOP_UNENTITLED':
      await giveUpUnentitled(attempt, facts);
      await waitForFacts(attempt, action, facts);
      return;
    case 'WAIT':
    case 'FENCE':
    case 'ALERT':
      await waitForFacts(attempt, action, facts);
      return;
  }
}

/** The ends whose hosts are proven off. */
interface OffEnds {
  source: Proof | undefined;
  target: Proof | undefined;
}

/**
 * Both agents acknowledge this leader's epoch durably, then tell; for a host that is proven off the proof speaks.
 * Silence is UNREACHABLE, which is no fact.
 */
async function seizeBoth(attempt: Attempt): Promise<{ facts: MigrationFacts; gone: OffEnds }> {
  return await attempt.step(
    MigrationStep.SEIZE,
    MigrationRole.UNSPECIFIED,
    async () => {
      const gone = { source: attempt.offProof(SOURCE), target: attempt.offProof(TARGET) };
      const [source, target] = await Promise.all([
        gone.source === undefined ? seize(attempt, SOURCE) : undefined,
        gone.target === undefined ? seize(attempt, TARGET) : undefined,
      ]);
      const facts = {
        source: gone.source === undefined ? (source?.sourceFact ?? SourceFact.UNREACHABLE) : SourceFact.OFF,
        target: gone.target === undefined ? (target?.targetFact ?? TargetFact.UNREACHABLE) : TargetFact.OFF,
        endHeard: attempt.endHeard || attempt.open().migration.record.transferEndHeard,
        postCopy: attempt.postCopy,
      };
      return { facts, gone };
    },
    ({ facts: { source, target } }) => `source ${nameOfSource(source)}, target ${nameOfTarget(target)}`,
  );
}

async function seize(attempt: Attempt, role: MigrationRole): Promise<VmFacts | undefined> {
  try {
    const { client, header } = attempt.agent(role);
    const { facts } = await client.seize(
      { header, order: attempt.order(role) },
      { deadlineMs: SEIZE_DEADLINE_MS, signal: attempt.leading.term.ended },
    );
    return facts;
  } catch (error) {
    if (error instanceof LockstepError && error.reason === 'STALE_EPOCH') throw error;
    attempt.log.warn(`cannot be asked: ${error instanceof Error ? error.message : String(error)}`);
    return undefined;
  }
}

/** Target first: it gives up durably and is read back, the journal follows, and only then the source runs on. */
async function goBack(attempt: Attempt, facts: MigrationFacts, { target }: OffEnds): Promise<void> {
  if (target === undefined) {
    const left = await attempt.step(
      MigrationStep.ABORT_TARGET,
      TARGET,
      async () => await abort(attempt, attempt.agent(TARGET), TARGET),
      ({ targetFact }) => nameOfTarget(targetFact),
    );
    if (!hasGivenUp(left.targetFact, facts)) {
      throw new LockstepError('FACTS_MISSING', `the target answered ${nameOfTarget(left.targetFact)} to Abort`);
    }
  }
  await attempt.journal.write(attempt.id, () => ({
    migration: { state: MigrationState.ABORTING, phases: attempt.phases, ...causeOfReturn(attempt) },
    holds: target === undefined ? [] : [target.holds],
  }));
  await releaseSource(attempt);
}

/** MAYBE is as good as NEVER where the source itself says that its memory was not all sent, or that nobody was told. */
function hasGivenUp(target: TargetFact, { source, postCopy = false }: MigrationFacts): boolean {
  if (target === TargetFact.NEVER) return true;
  return target === TargetFact.MAYBE && decide({ source, target, endHeard: false, postCopy }, false) === 'BACK';
}

async function releaseSource(attempt: Attempt): Promise<void> {
  const off = attempt.offProof(SOURCE);
  if (off !== undefined) {
    await restartCold(attempt, { source: off, target: 'gave-up' });
    return;
  }
  const left = await attempt.step(
    MigrationStep.ABORT_SOURCE,
    SOURCE,
    async () => await abort(attempt, attempt.agent(SOURCE), SOURCE),
    (facts) => nameOfSource(facts.sourceFact),
  );
  // After a switch to post-copy the hypervisor does not let the old copy go on, though the target has never run.
  const cannotGoOn = attempt.postCopy && left.sourceFact === SourceFact.STANDS;
  if (left.sourceFact === SourceFact.LOST || cannotGoOn) {
    await restartCold(attempt, { target: 'gave-up' });
    return;
  }
  if (left.sourceFact !== SourceFact.RUNNING) {
    throw new LockstepError('FACTS_MISSING', `the source answered ${nameOfSource(left.sourceFact)} to Abort`);
  }
  const obstacle = obstacleAtTarget(attempt);
  await attempt.journal.write(attempt.id, (open) => {
    const { record } = open.migration;
    if (obstacle === undefined && fallsBack(open)) return { migration: fallBack(attempt, record) };
    const detail = `${record.detail}; the guest runs on at ${record.sourceNode}`;
    return {
      migration: { state: MigrationState.ABORTED, phases: attempt.phases, detail },
      vm: unlocked(open.vm.record.placement),
    };
  });
  const { record } = attempt.open().migration;
  attempt.log.warn(`undone (${record.reason}): ${record.detail}`);
}

/** The live attempt is undone as if it had never been, and the guest may be shut down where its mode allows that. */
function fallsBack({ migration: { record }, vm }: OpenMigration): boolean {
  if (record.modeRequested !== MigrationMode.LIVE_OR_SHUTDOWN || record.cancelRequested) return false;
  return vm.record.desired === VmDesired.RUNNING && rulesOutLive(record.reason);
}

function fallBack(attempt: Attempt, { reason, detail, sourcePlacementEpoch }: Migration): Partial<Migration> {
  const why = `live was ruled out (${reason}): ${detail}`;
  return { ...beginsShutdown(sourcePlacementEpoch), phases: attempt.phases, detail: why };
}

async function abort(attempt: Attempt, { client, header }: Agent, role: MigrationRole): Promise<VmFacts> {
  const { facts } = await client.abort(
    { header, order: attempt.order(role), role },
    { deadlineMs: ABORT_DEADLINE_MS, signal: attempt.leading.term.ended },
  );
  if (facts === undefined) throw new LockstepError('FACTS_MISSING', 'the agent answered Abort without facts');
  return facts;
}

/** The target has the guest and the right to it; the old copy went with its host, which is proven off. */
async function closeWithoutSource(attempt: Attempt, off: Proof): Promise<void> {
  await attempt.journal.write(attempt.id, ({ migration: { record }, vm }) => ({
    migration: {
      state: MigrationState.SUCCEEDED,
      phases: attempt.phases,
      reason: '',
      detail: `${vm.record.name} runs on ${record.targetNode}; the old copy went with ${record.sourceNode}, which is proven off`,
    },
    vm: unlocked(vm.record.placement),
    holds: [off.holds],
  }));
  attempt.log.ok(attempt.open().migration.record.detail);
}

/**
 * Two copies run. The source's word that all memory was sent entitles the target; without it the source is entitled.
 * The other end is asked to give up, which it does by itself only where its copy stands still by now: what runs is for
 * a person to stop.
 */
async function giveUpUnentitled(attempt: Attempt, { endHeard }: MigrationFacts): Promise<void> {
  const role = endHeard ? SOURCE : TARGET;
  attempt.log.error(`two copies run; ${attempt.nodeOf(role)} is not entitled`);
  const { client, header } = attempt.agent(role);
  await client.giveUp(
    { header, order: attempt.order(role) },
    { deadlineMs: ABORT_DEADLINE_MS, signal: attempt.leading.term.ended },
  );
}

/** Nobody can tell yet: says what is missing, keeps the VM locked, and asks again later. */
async function waitForFacts(attempt: Attempt, action: RecoveryAction, facts: MigrationFacts): Promise<void> {
  const { sourceNode, targetNode, state } = attempt.open().migration.record;
  const ends = `source ${sourceNode} ${nameOfSource(facts.source)}, target ${targetNode} ${nameOfTarget(facts.target)}`;
  const reason = action === 'STOP_UNENTITLED' || action === 'ALERT' ? 'TWO_COPIES' : 'FACTS_MISSING';
  const detail = `${ends}: ${whatIsMissing(attempt, reason, facts)}`;
  if (state !== MigrationState.UNCERTAIN) {
    await attempt.journal.write(attempt.id, () => ({
      migration: { state: MigrationState.UNCERTAIN, reason, detail, phases: attempt.phases },
    }));
  }
  throw new LockstepError(reason, detail);
}

function whatIsMissing(attempt: Attempt, reason: 'TWO_COPIES' | 'FACTS_MISSING', { source }: MigrationFacts): string {
  const { sourceNode, targetNode } = attempt.open().migration.record;
  if (reason === 'TWO_COPIES') return 'these facts cannot be together; nothing is touched, look at both hosts';
  if (attempt.postCopy && source === SourceFact.OFF) {
    const lost = `the rest of its memory was on ${sourceNode}, which is proven off`;
    return `${lost}: once the guest on ${targetNode} is stopped it starts anew`;
  }
  return 'waiting for an answer or for the proof that the silent host is off';
}

/** Why the migration goes back, as this leader knows; its successors read it in the record. */
function causeOfReturn({ cause }: Attempt): { reason: string; detail: string } {
  return cause ?? { reason: 'LOST_CONTACT', detail: 'an earlier leader was lost in mid-migration' };
}

function nameOfSource(fact: SourceFact): string {
  return Object.entries(SourceFact).find(([, value]) => value === fact)?.[0] ?? 'UNKNOWN';
}

function nameOfTarget(fact: TargetFact): string {
  return Object.entries(TargetFact).find(([, value]) => value === fact)?.[0] ?? 'UNKNOWN';
}
