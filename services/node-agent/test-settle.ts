// SPDX-License-Identifier: Apache-2.0
import { MigrationRole, SourceFact, TargetFact } from '@lockstep/sdk/v1';
import { decide, type RecoveryAction } from '../core/migration/recovery.js';
import { VM, type TestBed, type TestNode } from './test-bed.js';
import { endCookie, TestLeader } from './test-leader.js';

const { SOURCE, TARGET } = MigrationRole;
const ROUNDS = 40;

/** What is known of a migration beside its record. */
export interface Heard {
  endHeard: boolean;
  endCookie: Uint8Array;
}

/**
 * A successor leader as the design describes it: seizes both ends, decides by the table, acts, target first, again until
 * the migration is closed. Returns the actions it took.
 */
export async function settle(bed: TestBed, source: TestNode, target: TestNode, heard: Heard): Promise<RecoveryAction[]> {
  bed.leaderEpoch += 1n;
  const leader = new TestLeader(bed);
  leader.callLimitMs = 60_000;
  const actions: RecoveryAction[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    try {
      const facts = {
        source: (await leader.seize(source, SOURCE)).sourceFact,
        target: (await leader.seize(target, TARGET)).targetFact,
        endHeard: heard.endHeard,
      };
      const action = decide(facts, false);
      actions.push(action);
      if (await act(bed, leader, source, target, action, heard, facts.source)) return actions;
    } catch {
      // Not settled yet: new facts are needed.
    }
    await bed.clock.advance(2_000);
  }
  throw new Error(`not settled: ${actions.join(', ')}`);
}

/** True once the migration is closed. */
async function act(
  bed: TestBed,
  leader: TestLeader,
  source: TestNode,
  target: TestNode,
  action: RecoveryAction,
  heard: Heard,
  sourceFact: SourceFact,
): Promise<boolean> {
  switch (action) {
    case 'BACK': {
      const given = await leader.abort(target, TARGET);
      const isGiven = given.targetFact === TargetFact.NEVER || given.targetFact === TargetFact.MAYBE;
      if (!isGiven || decide({ source: sourceFact, target: given.targetFact, endHeard: heard.endHeard }, false) !== 'BACK') {
        return false;
      }
      const left = await leader.abort(source, SOURCE);
      if (left.sourceFact === SourceFact.LOST) return cold(bed, leader, source, target);
      if (left.sourceFact !== SourceFact.RUNNING) return false;
      await bed.record({ node: source.name, epoch: leader.sourceEpoch });
      await leader.apply(source, leader.sourceEpoch);
      return true;
    }
    case 'FINISH':
      await leader.commit(target, TARGET, await repeatedEnd(leader, source, heard));
      return false;
    case 'WATCH':
      endCookie(await leader.transfer(source, EMPTY_VOTE, { attachOnly: true }));
      heard.endHeard = true;
      return false;
    case 'FORWARD':
      await bed.record({ node: target.name, epoch: leader.targetEpoch, migrationId: leader.migrationId });
      await leader.commit(source, SOURCE);
      await bed.record({ node: target.name, epoch: leader.targetEpoch });
      await leader.apply(target, leader.targetEpoch);
      return true;
    case 'COLD':
      return cold(bed, leader, source, target);
    case 'FORWARD_SOURCE_LATER':
    case 'WAIT':
    case 'FENCE':
      return false;
    case 'STOP_UNENTITLED':
    case 'ALERT':
      throw new Error(`facts that cannot be: ${action}`);
  }
}

const EMPTY_VOTE = {
  granted: true,
  refusals: [],
  cookie: Buffer.alloc(0),
  domainXml: '',
  persistentXml: '',
  migrationUri: '',
  ttl: undefined,
  paused: false,
};

async function repeatedEnd(leader: TestLeader, source: TestNode, heard: Heard): Promise<Uint8Array> {
  if (heard.endCookie.length > 0) return heard.endCookie;
  try {
    return endCookie(await leader.transfer(source, EMPTY_VOTE, { attachOnly: true }));
  } catch {
    return Buffer.alloc(0);
  }
}

async function cold(bed: TestBed, leader: TestLeader, source: TestNode, target: TestNode): Promise<boolean> {
  await leader.giveUp(target, leader.targetEpoch);
  await leader.giveUp(source, leader.targetEpoch);
  const fresh = leader.targetEpoch + 1n;
  await bed.record({ node: source.name, epoch: fresh });
  await leader.apply(source, fresh);
  return true;
}

/** Nothing is left over but the one copy: no incoming guest, no ghost, no open note. */
export function leftovers(nodes: readonly TestNode[], runsOn: string): string[] {
  return nodes.flatMap(({ name, host }) => {
    const guest = host.guest(VM);
    return guest !== undefined && name !== runsOn ? [`${name}: ${JSON.stringify(guest.state)}`] : [];
  });
}
