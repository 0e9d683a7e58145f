// SPDX-License-Identifier: Apache-2.0
import { NodeJudgement } from '@lockstep/sdk/v1';
import { BRAKE_LIMITS } from '../core/fencing/brake.js';
import { LADDER } from '../core/fencing/ladder.js';
import { JUDGEMENT_LIMITS } from '../core/judgement/facts.js';
import { armingCodec, fenceActionCodec, fenceDrillCodec } from '../core/records/codec.js';
import { keys } from '../core/records/keys.js';
import { createEventLog } from '../membership/events.js';
import { keepBounded, readPruned } from '../membership/history.js';
import { createLedger } from '../membership/ledger.js';
import type { Term } from '../membership/leadership.js';
import { createNodeStreams } from '../membership/node-streams.js';
import { heardEpochOf } from '../membership/overtaken.js';
import { RecordCache } from '../membership/record-cache.js';
import { RequestTurns } from '../membership/requests.js';
import type { FencerEnv } from '../platform/env.js';
import { Acting } from './actions/acting.js';
import { fenceActionHistory } from './actions/history.js';
import { FenceJournal } from './actions/journal.js';
import type { FencerDesk } from './api.js';
import { BMC_ROUND_TIMINGS, BmcRounds } from './bmc-rounds.js';
import { Drills } from './drills/drills.js';
import type { FencerConfig, FencerTimings } from './fencer.js';
import { Judging } from './judging.js';
import { DRILL_EVERY_MS, FENCING_TIMINGS, type FencerLeading, type FencingSettings } from './leading.js';
import { countFencing } from './metrics.js';
import { SteadyMarks } from './node-marks.js';
import { FRESHNESS_LIMITS } from './sight/evidence.js';
import { Hearsay } from './sight/hearsay.js';
import { PeerProbes } from './sight/peer-probes.js';
import { PowerReads } from './sight/power-reads.js';

const LOOK_EVERY_MS = 1_000;

/** One term of leading: everything it works with, and its work. */
export interface TermWork {
  desk: FencerDesk;
  /** Settles when the term ended and everything has. */
  run(): Promise<void>;
}

/** Builds all a leader works with, from what the store holds. */
export async function openTerm(env: FencerEnv, term: Term, config: Required<FencerConfig>): Promise<TermWork> {
  const { name, timings } = config;
  const ledger = createLedger(env, term);
  const events = createEventLog(env, term, 'fencer');
  const streams = createNodeStreams({
    env,
    role: 'fencer',
    leaderEpoch: term.leaderEpoch,
    signal: term.ended,
    timings: timings.streams ?? {},
    onTrouble: (_node, error) => {
      const heard = heardEpochOf('fencer', error);
      if (heard !== undefined) term.overtaken(heard);
    },
  });
  const sight = { env, term, streams };
  const rounds = new BmcRounds({ ...sight, timings: { ...BMC_ROUND_TIMINGS, ...timings.bmcRounds } });
  const probes = new PeerProbes(sight);
  const power = new PowerReads(sight);
  const hearsay = new Hearsay(sight);
  const steady = new SteadyMarks({ env, ledger, term });
  const drillRecords = new RecordCache(keys.fenceDrills, fenceDrillCodec, env.log.child('drills'));
  const judging = new Judging({
    env,
    name,
    term,
    streams,
    ...limitsOf(timings),
    checksOf: (node) => rounds.checksOf(node),
    drillOf: (node) => drillRecords.get(node)?.record,
    sightsOf: (node) => ({
      probes: probes.seen(node),
      tallies: probes.tallies(node, env.clock.nowMs()),
      power: power.of(node),
      members: hearsay.members,
      scheduler: hearsay.scheduler,
    }),
    onLook: (view, verdict) => {
      steady.note(view, verdict.judgement === NodeJudgement.ALIVE && view.report?.node.ready === true);
    },
  });
  const leading: FencerLeading = {
    env,
    name,
    term,
    ledger,
    streams,
    judging,
    actions: new RecordCache(keys.fenceActions, fenceActionCodec, env.log.child('actions')),
    drills: drillRecords,
    arming: new RecordCache(keys.arming, armingCodec, env.log.child('arming')),
    settings: settingsOf(config.fencing),
    turns: new RequestTurns(),
    startedAtMs: env.clock.nowMs(),
    prunedUpTo: await readPruned(env),
    tell: (told) => events.emit(told),
  };
  await Promise.all([leading.actions, leading.drills, leading.arming].map((cache) => cache.open(env.store, term.ended)));
  const journal = new FenceJournal(leading);
  const acting = new Acting(leading, journal);
  const drills = new Drills(leading);
  countFencing(leading);
  keepBounded(leading, fenceActionHistory(leading));
  return {
    desk: { leading, journal, drills },
    run: async () => {
      await Promise.all([
        ...[judging.run(), rounds.run(), probes.run(), power.run(), hearsay.run(), acting.run(), drills.run()],
        streams.done,
      ]);
    },
  };
}

function limitsOf(timings: FencerTimings) {
  return {
    lookEveryMs: timings.lookEveryMs ?? LOOK_EVERY_MS,
    judgement: { ...JUDGEMENT_LIMITS, ...timings.judgement },
    freshness: { ...FRESHNESS_LIMITS, ...timings.freshness },
  };
}

function settingsOf(given: Partial<FencingSettings>): FencingSettings {
  return { ladder: LADDER, ladders: new Map(), brake: BRAKE_LIMITS, drillEveryMs: DRILL_EVERY_MS, timings: FENCING_TIMINGS, ...given };
}
